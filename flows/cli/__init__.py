"""The `olmo` command: one file a verb, and what a person sees while it runs."""
