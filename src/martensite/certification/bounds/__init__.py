"""Bound propagation: how far the outputs of a small network can move while its input moves within a ball."""
