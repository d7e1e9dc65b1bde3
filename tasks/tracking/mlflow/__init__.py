"""How events and records become runs, metrics, artifacts and registered models of MLflow."""
