"""Held-out text and tasks: the scorer, statistics, the table of results."""
