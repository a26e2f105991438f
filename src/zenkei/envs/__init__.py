"""Environments on this machine: a request becomes a lock, a lock becomes a directory. Uses uv.

Front door, named by the composition root only: `builder.UvBuilder` (ports.builder.Builder). Beside
the port it has `list`, `show`, `remove`, `gc`, `refresh` and `close`. Nothing here reads the
process' environment: the person's index, proxy and credential settings arrive as a mapping.
"""
