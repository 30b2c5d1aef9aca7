"""TODO-docstring runs."""
