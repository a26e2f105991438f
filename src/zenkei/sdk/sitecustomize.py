# Lies at the top of the SDK's zip, so that every Python of a job runs it when it starts, of
# whatever version: plain words only, no import of zenkei, and nothing that goes wrong here is ever
# seen by the program. It lets the node's agent ask for the stacks of all threads (faulthandler,
# on a signal that programs do not use, into a file of the attempt), and seeds what has a seed
# (`starthook`). A `sitecustomize` that the environment itself has runs afterwards. Cost, with the
# zip that it comes from: 6 ms at start, 9 with the report, 11 with seeds; one descriptor.
# ZENKEI_START=off: no seeds and no report, stacks only.
"""Called by Python's `site`. ZENKEI_STACKS: number of the signal, a colon, path of the file."""

import os
import sys


def _listen():
    # type: () -> None
    number, _, path = os.environ.get("ZENKEI_STACKS", "").partition(":")
    if not path:
        return
    import faulthandler
    import fcntl

    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
    fd = os.open(path, flags, 0o600)
    try:
        # far from 3, which some programs believe to be the next one
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200)
        os.close(fd)
        fd = high
    except (OSError, ValueError, AttributeError):
        pass
    faulthandler.register(int(number), file=fd, all_threads=True, chain=False)


def _seed():
    # type: () -> None
    words = os.environ.get("ZENKEI_START", "off").replace(",", " ").split()
    if "off" in words or sys.version_info < (3, 5):
        return
    import _zenkei_start  # type: ignore[import-not-found]

    _zenkei_start.begin(words)


def _go_on():
    # type: () -> None
    """Run the `sitecustomize` that this one hides."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    own = os.path.dirname(os.path.abspath(__file__))
    rest = [path for path in sys.path if os.path.abspath(path or ".") != own]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    try:
        _listen()
    except Exception:  # noqa: BLE001, S110 - the program comes first
        pass
    try:
        _seed()
    except Exception:  # noqa: BLE001, S110 - the program comes first
        pass
    # before Python 3.5 there is no such function, and no job of ours
    if sys.version_info >= (3, 5):  # noqa: UP036
        _go_on()
