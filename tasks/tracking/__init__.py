"""What MLflow shows of a release: events on disk, and a process of its own that sends them to a tracking server."""
