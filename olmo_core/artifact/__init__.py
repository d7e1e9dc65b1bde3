"""Identity, records and the store: a step, declared by its fields, becomes verified files under its id."""
