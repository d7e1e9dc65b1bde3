from executor import make, results
from remote_files import bucket, memory, web

__all__ = ["bucket", "make", "memory", "results", "web"]
