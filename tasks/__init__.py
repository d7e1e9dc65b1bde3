"""Steps as Prefect tasks: reuse, retries, lineage."""
