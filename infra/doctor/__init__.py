"""The doctor: whether everything a profile names is there and lets us in."""
