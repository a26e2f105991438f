"""Placement policies: which of the nodes that fit. `port` says what one is."""
