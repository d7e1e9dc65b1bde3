"""How each step of a release works: a library that knows neither Prefect nor Ray nor MLflow."""
