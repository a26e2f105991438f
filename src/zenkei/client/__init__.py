"""Talks to the daemon: a socket, HTTP/1.1 by hand, JSON. Nothing here is slow to import."""
