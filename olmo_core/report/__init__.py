"""The release page, its figures and tables, made from records alone."""
