"""Recipes, overrides, the plan of their steps, and the time and disk space it needs."""
