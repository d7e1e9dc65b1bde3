"""Evaluation on held-out text and tasks: the scorer, statistics and the table of results."""
