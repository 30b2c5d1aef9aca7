"""TODO-docstring prune."""
