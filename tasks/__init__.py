"""One step as Prefect sees it: reuse, retry, lineage."""
