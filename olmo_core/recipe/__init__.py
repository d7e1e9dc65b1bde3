"""Recipes and profiles, overrides, and the plan of steps they make."""
