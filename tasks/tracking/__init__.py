"""The MLflow side of a release: events on disk, and a separate process that sends them to a tracking server."""
