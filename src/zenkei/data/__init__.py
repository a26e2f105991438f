"""Content by digest on this machine: the store, code trees, results. Adapters behind `ports`.

Front doors, named by the composition root only: `blobs_dir.DirectoryBlobs` (ports.blobs.Blobs),
`tree.DirectoryTrees` (ports.trees.Trees), `gc.collect`, `export.export`.
"""
