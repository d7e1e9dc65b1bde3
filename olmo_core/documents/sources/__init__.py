"""Sources: one file for each form in which a package holds documents."""
