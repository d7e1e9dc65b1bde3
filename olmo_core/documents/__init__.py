"""Documents: reading them from packages and archives, cleaning and deduplicating them into corpora."""
