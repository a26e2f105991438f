"""Datasets on a node: one cache, read-only mounts of versions, private copies where none may be.

`service` answers the requests of `python -m zenkei.data.node`; `cache` keeps packs, versions and
images, fetched once however many ask; `ladder` makes a version visible and says by which means.
"""
