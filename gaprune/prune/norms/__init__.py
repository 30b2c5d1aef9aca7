"""Batch norms of a cut network: recalibrated, restated for training, folded."""
