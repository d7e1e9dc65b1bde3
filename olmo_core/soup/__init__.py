"""The average of checkpoints, the certificate of its ingredients, and the decision about `main`."""
