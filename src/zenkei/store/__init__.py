"""The durable side of `ports.store`: `memory` for tests and the simulator, `sql` for the rest.

`units` decides a batch of units once for both, so that order, version checks and what a unit sees
of those before it are the same everywhere. Importing this package, or `memory`, imports no SQL.
"""
