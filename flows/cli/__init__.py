"""The `olmo` command: one file per subcommand, and the display of progress and tables."""
