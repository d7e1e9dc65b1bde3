"""The release page, its figures and its tables, made from records alone."""
