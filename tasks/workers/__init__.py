"""The Ray side of a release: where its steps are made, on which processes, and how far they are."""
