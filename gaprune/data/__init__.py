"""TODO-docstring data."""
