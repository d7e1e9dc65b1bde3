"""The doctor: checks that everything a profile names exists and grants access."""
