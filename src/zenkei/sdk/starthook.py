# Lies at the top of the SDK's zip as `_zenkei_start`, beside `sitecustomize`, which imports it.
# Plain words only, no import of zenkei, and nothing that goes wrong here is ever seen by the
# program. Modules are seeded when the program imports them, so that what it does not use costs
# nothing. Cost: 3 ms at start (5 ms with a seed), a line for each thing done.
"""Seeds the generators of random numbers from outside, and sets switches that only code can set.

ZENKEI_START: words `seed`, `deterministic`; `off` switches it off. ZENKEI_SEED: the seed.
ZENKEI_STARTS_DIR: where each rank's file lies, to which every Python of the rank appends lines of
words between tabs: `start PID VERSION`, `seeded PID WHAT SEED`, `switch PID WHAT`,
`failed PID WHAT WHY`, `version PID NAME VERSION`.
"""

import os
import sys

MYPY = False
if MYPY:
    from typing import Any, List  # noqa: F401

MOST_BYTES = 1 << 18
"""Of a rank's file: a program that starts Pythons endlessly is heard for a while."""
MOST_MODULES = 300
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "ZENKEI_RANK")


def say(*words):
    # type: (Any) -> None
    """Append a line."""
    write([words])


def write(lines):
    # type: (List[Any]) -> None
    """Append lines at once: several processes may do so, and a short write is whole."""
    folder = os.environ.get("ZENKEI_STARTS_DIR", "")
    if not folder:
        return
    rank = next((os.environ[n] for n in _RANKS if os.environ.get(n, "").isdigit()), "0")
    text = ""
    for first, *rest in lines:
        clean = [" ".join(str(word).split())[:200] for word in rest]
        text += "\t".join([first, str(os.getpid()), *clean]) + "\n"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    fd = os.open(os.path.join(folder, rank), flags | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        if os.fstat(fd).st_size < MOST_BYTES:
            os.write(fd, text.encode("utf-8", "replace"))
    finally:
        os.close(fd)


def versions():
    # type: () -> None
    """At the end: the modules that were really imported, with the version that they say."""
    own = os.path.dirname(os.__file__)
    found = []
    for name, module in list(sys.modules.items()):
        path, value = getattr(module, "__file__", None), getattr(module, "__version__", None)
        if "." in name or name.startswith("_") or not (path and isinstance(value, str)):
            continue
        if not path.startswith(own) or "-packages" in path[len(own) :]:
            found.append(("version", name, value))
    if found:
        write(sorted(found)[:MOST_MODULES])


class Seeds(object):  # noqa: UP004
    """A finder that finds nothing itself: it is told when a module of `_after` is imported."""

    def __init__(self, seed, is_deterministic):
        # type: (int, bool) -> None
        self.seed = seed
        self.is_deterministic = is_deterministic
        self._after = {
            "random": self._random,
            "numpy.random": self._numpy,
            "torch": self._torch,
            "tensorflow": self._tensorflow,
            "cupy": self._cupy,
        }
        self._looking = False

    def begin(self):
        # type: () -> None
        for name in list(self._after):
            if name in sys.modules:
                self._done(name, sys.modules[name])
        sys.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        # type: (str, Any, Any) -> Any
        if name not in self._after or self._looking:
            return None
        self._looking = True
        try:
            spec = None
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                if finder is self or find is None:
                    continue
                spec = find(name, path, target)
                if spec is not None:
                    break
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            self._listen(name, spec.loader)
        return spec

    def _listen(self, name, loader):
        # type: (str, Any) -> None
        """Be told when this loader has run the module. A loader that others share is given back."""
        run = getattr(loader, "exec_module", None)
        if run is None or isinstance(loader, type):
            return

        def exec_module(module):
            # type: (Any) -> None
            run(module)
            if getattr(module, "__name__", "") == name:
                try:
                    del loader.exec_module
                except AttributeError:
                    pass
                self._done(name, module)

        try:
            loader.exec_module = exec_module
        except AttributeError:
            pass

    def _done(self, name, module):
        # type: (str, Any) -> None
        act = self._after.pop(name, None)
        if act is None:
            return
        try:
            act(module)
        except Exception as error:  # noqa: BLE001 - the program comes first
            self._say("failed", name, "%s: %s" % (type(error).__name__, error))  # noqa: UP031
        if not self._after and self in sys.meta_path:
            sys.meta_path.remove(self)

    def _say(self, *words):
        # type: (Any) -> None
        try:
            say(*words)
        except Exception:  # noqa: BLE001, S110 - the program comes first
            pass

    def _random(self, module):
        # type: (Any) -> None
        module.seed(self.seed)
        self._say("seeded", "python", self.seed)

    def _numpy(self, module):
        # type: (Any) -> None
        module.seed(self.seed % 2**32)
        self._say("seeded", "numpy", self.seed % 2**32)

    def _cupy(self, module):
        # type: (Any) -> None
        module.random.seed(self.seed)
        self._say("seeded", "cupy", self.seed)

    def _tensorflow(self, module):
        # type: (Any) -> None
        module.random.set_seed(self.seed)
        self._say("seeded", "tensorflow", self.seed)
        if self.is_deterministic:
            module.config.experimental.enable_op_determinism()
            self._say("switch", "tensorflow.config.experimental.enable_op_determinism")

    def _torch(self, module):
        # type: (Any) -> None
        module.manual_seed(self.seed)
        self._say("seeded", "torch", self.seed)
        if not self.is_deterministic:
            return
        module.use_deterministic_algorithms(True, warn_only=True)
        self._say("switch", "torch.use_deterministic_algorithms")
        module.backends.cudnn.benchmark = False
        module.backends.cudnn.deterministic = True
        self._say("switch", "torch.backends.cudnn.deterministic")


def begin(words):
    # type: (List[str]) -> None
    """Called by `sitecustomize` with the words of ZENKEI_START."""
    say("start", "%d.%d.%d" % tuple(sys.version_info[:3]), sys.implementation.name)  # noqa: UP031
    if os.environ.get("PYTHONHASHSEED", "random") not in ("", "random"):
        say("seeded", "hash", os.environ["PYTHONHASHSEED"])
    if "seed" in words or "deterministic" in words:
        Seeds(int(os.environ.get("ZENKEI_SEED", "0")), "deterministic" in words).begin()
    import atexit

    atexit.register(_at_exit, os.getpid())


def _at_exit(pid):
    # type: (int) -> None
    if pid != os.getpid():  # a child that was forked has imported what its parent has
        return
    try:
        versions()
    except Exception:  # noqa: BLE001, S110 - the program comes first
        pass
