"""Zenkei: jobs, queues and GPUs for a laboratory. Importing it costs nothing.

Runs under Python 3.8 as well, because the agent and the SDK travel into foreign interpreters.
"""

__version__ = "0.1.0"
