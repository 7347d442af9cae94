"""The sources of the catalog, and how its prices are chosen."""
