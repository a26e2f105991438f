"""What travels to a node and back, in one text: launch document, records, log chunks, names.

Read and written by engines, the agent, the SDK and whoever shows logs. Standard library only, runs
under Python 3.8, imports nothing of zenkei. `VERSION` is in every document and record: a reader
accepts its own version and older ones, and ignores fields it does not know.
"""

VERSION = 1
