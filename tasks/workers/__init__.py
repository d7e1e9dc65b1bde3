"""The Ray side of a release: where its steps are made, on which processes, and what is heard of them."""
