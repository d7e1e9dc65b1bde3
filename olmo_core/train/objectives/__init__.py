"""What a run minimises: one file an objective, and `table`, which names them all."""
