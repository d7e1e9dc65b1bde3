from executor import make, results

__all__ = ["make", "results"]
