"""Drift: whether what a server is asked still looks like what its model was evaluated on."""
