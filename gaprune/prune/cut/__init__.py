"""Cutting: masks, compact networks, grouped convolutions, and what a cut network costs."""
