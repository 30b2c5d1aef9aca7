"""TODO-docstring evolve."""
