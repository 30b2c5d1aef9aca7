"""TODO-docstring testing."""
