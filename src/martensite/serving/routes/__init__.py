"""What the server answers at which path: one file a group of paths."""
