"""Reads the sources of the catalog, and chooses its prices."""
