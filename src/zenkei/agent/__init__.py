"""On the node: one supervisor per attempt and node, and a warm process that forks them.

Started by engines as one file, a zipapp named by its digest; never installed. Standard library and
`protocol` only, Python 3.8. `__main__` is the command line, `server` the warm process, `supervisor`
runs one attempt, `cleaner` finishes one whose supervisor died.
"""
