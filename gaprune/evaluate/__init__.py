"""TODO-docstring evaluate."""
