"""TODO-docstring models."""
