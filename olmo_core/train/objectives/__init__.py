"""The objectives that a run can minimise: one file each, and `table`, which lists them all."""
