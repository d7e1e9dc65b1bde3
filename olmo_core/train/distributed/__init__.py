"""One run on several ranks: how they join, share batches and weights, and in strict mode sum in a fixed order."""
