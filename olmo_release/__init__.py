"""Where the `olmo` command begins."""
