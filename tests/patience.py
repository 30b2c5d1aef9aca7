"""How long tests wait for other processes."""

PATIENCE = 900
"""Seconds after which a process hangs. It bounds no work: the machine may be busy with something else."""
