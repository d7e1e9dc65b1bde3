"""The average of checkpoints, the certificate of what went into it, and the decision what  is."""
