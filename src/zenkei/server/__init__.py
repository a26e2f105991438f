"""HTTP over the use-cases: thin routes, event streams, peer identity, errors to status."""
