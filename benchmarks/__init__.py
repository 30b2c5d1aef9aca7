"""Claims with numbers: each script measures, writes a JSON file under ``results/`` and checks it with ``--check``."""
