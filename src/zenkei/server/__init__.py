"""HTTP over the use-cases: thin routes, event streams, who is at the other end, errors to status."""
