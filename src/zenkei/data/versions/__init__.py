"""Versions of datasets: immutable trees of any size, held as columns.

A version is a `table.VersionTable`: rows (paths, sizes, modes, digests) whose canonical bytes give
its digest, and places (which pack holds which piece), which do not count for it. `commit` makes one
from a directory, `export` writes one back, `compare` tells two apart, `inspect` looks for damage.
"""
