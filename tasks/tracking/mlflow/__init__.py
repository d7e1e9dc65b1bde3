"""Convert events and records to runs, metrics, artifacts and registered models of MLflow."""
