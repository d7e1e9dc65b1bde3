"""The Ray side of a release: the processes that make its steps, and their progress."""
