"""The flows of a release, and the `olmo` command that starts them."""
