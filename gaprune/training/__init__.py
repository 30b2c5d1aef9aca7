"""TODO-docstring training."""
