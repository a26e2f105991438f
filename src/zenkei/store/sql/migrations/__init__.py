"""Schema history. A released migration is never edited; a test compares with `schema`."""
