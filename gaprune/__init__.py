"""gaprune: structural pruning of convolutional networks by genetic search."""
