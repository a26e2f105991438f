"""Capsules: a job's result with all that it came from, as one file; written and taken in."""
