"""Training after pruning: one network, the members of a front, or all of them on shared weights."""
