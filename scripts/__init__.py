"""What writes generated files: the catalog, the tables of the docs."""
