"""What the Pythons of an attempt said when they started: seeded, switched, imported.

Called when an attempt is sealed; `sdk.starthook` writes the lines. They come from the job: names
are bounded, counts too. What a hook at the start of Python cannot reach is put into words here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from zenkei.model.errors import EngineError
from zenkei.model.job import JobSpec

MOST_RANKS = 64
"""As many are asked; ranks run the same program."""
MOST_BYTES = 1 << 18
MOST_NAMES = 500
MOST_CHARS = 200
OFF = "off"
VARIABLE = "ZENKEI_START"
Read = Callable[[int], bytes]
"""The lines of a rank."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Starts:
    """asked: ranks looked at; heard: those of which a Python has said something.

    seeded, switches: what some Python of them has done. failed: what could not be, and why.
    imported: versions of modules by name, as the modules themselves say.
    """

    asked: int = 0
    heard: int = 0
    seeded: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    imported: dict[str, str] = field(default_factory=dict)

    def document(self, spec: JobSpec) -> dict[str, object]:
        """As the record has it."""
        return {
            "ranks": self.asked,
            "ranks_heard": self.heard,
            "seeded": list(self.seeded),
            "switches": list(self.switches),
            "not_reached": list(self.not_reached(spec)),
        }

    def not_reached(self, spec: JobSpec) -> tuple[str, ...]:
        """In words; empty for a job that asks for no seed."""
        if spec.seed is None and not spec.deterministic:
            return ()
        if OFF in spec.env.vars.get(VARIABLE, "").split(","):
            return ("the job has switched the start-up hook off: nothing is seeded from outside",)
        found = [f"could not be set: {why}" for why in self.failed]
        silent = self.asked - self.heard
        if silent:
            found.append(
                f"{silent} of {self.asked} ranks: no Python has said that it started (another "
                "language, or `python -S`, `-I` or `-E`)"
            )
        if "jax" in self.imported:
            found.append("JAX has no global seed: the program makes its own keys")
        return tuple(found)


def starts_of(read: Read, ranks: int) -> Starts:
    """From the lines of the first MOST_RANKS ranks."""
    asked = min(ranks, MOST_RANKS)
    seeded: dict[str, None] = {}
    switches: dict[str, None] = {}
    failed: dict[str, None] = {}
    imported: dict[str, str] = {}
    heard = 0
    for rank in range(asked):
        try:
            lines = read(rank)[:MOST_BYTES].decode("utf-8", "replace").splitlines()
        except EngineError:
            continue
        heard += bool(lines)
        for line in lines:
            word, _, rest = line[: 4 * MOST_CHARS].partition("\t")
            fields = [one[:MOST_CHARS] for one in rest.split("\t")[1:]]
            if word == "seeded" and fields:
                seeded[fields[0]] = None
            elif word == "switch" and fields:
                switches[fields[0]] = None
            elif word == "failed" and len(fields) > 1:
                failed[f"{fields[0]} ({fields[1]})"] = None
            elif word == "version" and len(fields) > 1 and len(imported) < MOST_NAMES:
                imported[fields[0]] = fields[1]
    return Starts(
        asked=asked,
        heard=heard,
        seeded=tuple(list(seeded)[:MOST_NAMES]),
        switches=tuple(list(switches)[:MOST_NAMES]),
        failed=tuple(list(failed)[:MOST_NAMES]),
        imported=dict(sorted(imported.items())),
    )
