"""Checkpoints that a run resumes from: the state is copied while training waits, and written while it continues."""
