"""Recipes, overrides, the plan of steps they make, and what that takes in time and bytes."""
