"""Searches in a row, each on what the one before left: the paper's rounds, and search, recover, search again."""
