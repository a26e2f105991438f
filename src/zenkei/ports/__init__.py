"""Holes that adapters fill: Protocols and the values that pass through them. No behaviour."""
