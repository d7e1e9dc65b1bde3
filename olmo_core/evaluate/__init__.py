"""Held-out text and tasks: suites, the scorer, statistics, the table of results."""
