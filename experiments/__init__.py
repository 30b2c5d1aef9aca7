"""Longer studies, each with a script and committed results; what they share with benchmarks lies there."""
