"""Where the content of datasets is kept: immutable objects by name, in a directory or behind S3.

`depot.Depot` is what all of them promise, `opening.open_depot` makes one from its location.
"""
