"""One search: its options, its job (data, network, graph, evaluator), where it runs, and the loop."""
