"""The engine: pruning graph, genome, compaction, costs. Knows networks, knows nothing of evolution."""
