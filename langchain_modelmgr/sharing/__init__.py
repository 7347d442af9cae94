"""Where the managers of this process are found, and what of them travels to another."""
