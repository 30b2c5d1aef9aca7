"""The pruning graph of a network: which neurons and connections exist, who makes and who uses each."""
