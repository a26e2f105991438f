"""Use-cases over ports and pure rooms: commands, queries, and the controller's cycle."""
