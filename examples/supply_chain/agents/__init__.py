"""The application's agents."""
