"""Filters of documents: published rules with their thresholds, one publication a file."""
