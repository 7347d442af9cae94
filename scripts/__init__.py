"""Scripts that write generated files: the catalog, and tables of the documentation."""
