"""The members of a front on disk: built, measured, saved, opened again, drawn."""
