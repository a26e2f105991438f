"""Adapters of the engine port: where jobs really run. Strangers to each other."""
