"""Documents: read from packages and archives, cleaned, and deduplicated into corpora."""
