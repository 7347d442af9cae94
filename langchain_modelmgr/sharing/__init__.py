"""Shares managers between models of a process, and pickles them for other processes."""
