from executor import make, results
from stores import bucket, web

__all__ = ["bucket", "make", "results", "web"]
