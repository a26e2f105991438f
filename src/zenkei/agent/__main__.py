"""Command line of the agent's one file: `serve` (warm process), `supervise` (one attempt).

Both are started by engines and read frames (`protocol.wire`) from standard input; words after the
verb name control groups to do without (`unified freezer memory cpu`), for tests of the others.
`rank` is started by mpiexec or torchrun for every rank, `mpi-rsh` by mpiexec in place of ssh,
`network` by a supervisor inside a node that is entered by a prefix, `probe` by an engine there.
"""

from __future__ import annotations

import os
import socket
import sys


def main() -> None:
    """The word after the file's name chooses."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb == "serve":
        from zenkei.agent.server import serve

        serve(tuple(sys.argv[2:]))
    elif verb == "supervise":
        _supervise(tuple(sys.argv[2:]))
    elif verb == "mpi-rsh":
        from zenkei.agent import mpi_rsh

        sys.exit(mpi_rsh.main(sys.argv[2:]))
    elif verb == "rank":
        from zenkei.agent import rank_wrapper

        sys.exit(rank_wrapper.main(sys.argv[2:]))
    elif verb == "probe":
        from zenkei.agent import health

        sys.exit(health.main(sys.argv[2:]))
    elif verb == "network":
        from zenkei.agent import network

        sys.exit(network.main(sys.argv[2:]))
    else:
        sys.exit("usage: agent.pyz serve|supervise (started by zenkei, not by hand)")


def _supervise(without: tuple[str, ...]) -> None:
    from zenkei.agent import groups, supervisor
    from zenkei.agent.server import read_order
    from zenkei.protocol import wire

    order = wire.receive(socket.socket(fileno=os.dup(0)))
    if order is None:
        return
    directory, secrets, _ = read_order(order[1])
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    supervisor.main(directory, secrets, groups.find_places(without))


if __name__ == "__main__":
    main()
