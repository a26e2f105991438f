"""Compares `a/PATH` with `b/PATH`, tensor by tensor, and writes what it finds to `findings.json`.

Travels as `look.py` into a job in the environment that wrote the checkpoints (`child.torch_job`).
Standard library and PyTorch only, any Python from 3.8. Weights only: nothing in them is executed.
What cannot be loaded so is left out of the answer, and is compared by its bytes.
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any


class Tally:
    """What `model.verdict.Finding` holds."""

    def __init__(self, torch: Any, tolerance: float) -> None:
        self.torch = torch
        self.tolerance = tolerance
        self.found: dict[str, Any] = {
            "verdict": "identical",
            "where": "",
            "why": "",
            "a": "",
            "b": "",
            "compared": 0,
            "differing": 0,
            "relative": 0.0,
            "absolute": 0.0,
            "note": "",
        }

    def walk(self, a: Any, b: Any, where: str) -> None:
        if type(a) is not type(b):
            self.tell(where, "type", type(a).__name__, type(b).__name__)
        elif isinstance(a, self.torch.Tensor):
            self.tensors(a, b, where)
        elif isinstance(a, dict):
            for key in list(a) + [key for key in b if key not in a]:
                place = f"{where}.{key}" if where else str(key)
                if key in a and key in b:
                    self.walk(a[key], b[key], place)
                else:
                    self.tell(place, f"only the {'first' if key in a else 'second'} has it")
        elif isinstance(a, (list, tuple)):
            if len(a) != len(b):
                self.tell(where, "length", str(len(a)), str(len(b)))
                return
            for i, x in enumerate(a):
                self.walk(x, b[i], f"{where}[{i}]")
        elif isinstance(a, (int, float)) and not isinstance(a, bool):
            self.number(a, b, where)
        else:
            self.found["compared"] += 1
            if a != b:
                self.tell(where, "", repr(a), repr(b))

    def tensors(self, a: Any, b: Any, where: str) -> None:
        torch = self.torch
        if a.shape != b.shape or a.dtype != b.dtype or a.layout != b.layout:
            said = [f"{t.dtype} {tuple(t.shape)}" for t in (a, b)]
            self.tell(where, "type and shape", said[0], said[1])
            return
        if a.layout != torch.strided:
            a, b = a.to_dense(), b.to_dense()
        a, b = a.detach().reshape(-1), b.detach().reshape(-1)
        self.found["compared"] += a.numel()
        same = a == b
        if a.is_floating_point():
            same = same & (torch.signbit(a) == torch.signbit(b))
            same = same | (torch.isnan(a) & torch.isnan(b))
        elif a.is_complex():
            same = same | (torch.isnan(a) & torch.isnan(b))
        at = torch.nonzero(~same).reshape(-1)
        if not at.numel():
            return
        absolute, relative = self.apart(a[at], b[at])
        beyond = torch.nonzero(~(torch.minimum(absolute, relative) <= self.tolerance)).reshape(-1)
        i = int(beyond[0]) if beyond.numel() else 0
        values = (repr(a[at[i]].item()), repr(b[at[i]].item()))
        self.found["differing"] += int(at.numel())
        greatest = (float(relative.max()), float(absolute.max()))
        self.note(f"{where}[{int(at[i])}]", "", values, greatest, is_beyond=bool(beyond.numel()))

    def apart(self, a: Any, b: Any) -> tuple[Any, Any]:
        torch = self.torch
        wide = torch.complex128 if a.is_complex() else torch.float64
        x, y = a.to(wide), b.to(wide)
        absolute = (x - y).abs()
        if not (a.is_floating_point() or a.is_complex()):
            # what float64 cannot tell apart is one apart at least
            absolute = absolute.clamp(min=1.0)
        absolute[~(torch.isfinite(x) & torch.isfinite(y))] = math.inf
        scale = torch.maximum(x.abs(), y.abs())
        relative = torch.where(absolute == 0, torch.zeros_like(absolute), absolute / scale)
        relative[torch.isnan(relative)] = math.inf
        return absolute, relative

    def number(self, a: float, b: float, where: str) -> None:
        self.found["compared"] += 1
        if a == b or (math.isnan(a) and math.isnan(b)):
            return
        absolute = relative = math.inf
        if math.isfinite(a) and math.isfinite(b):
            absolute = abs(a - b)
            relative = absolute / max(abs(a), abs(b))
        self.found["differing"] += 1
        is_beyond = not min(absolute, relative) <= self.tolerance
        self.note(where, "", (repr(a), repr(b)), (relative, absolute), is_beyond=is_beyond)

    def tell(self, where: str, why: str, a: str = "", b: str = "") -> None:
        """Something is not the same that no tolerance forgives."""
        self.found["differing"] += 1
        self.note(where, why, (a[:80], b[:80]), (math.inf, math.inf), is_beyond=True)

    def note(
        self,
        where: str,
        why: str,
        values: tuple[str, str],
        greatest: tuple[float, float],
        *,
        is_beyond: bool,
    ) -> None:
        found = self.found
        found["relative"] = max(found["relative"], greatest[0])
        found["absolute"] = max(found["absolute"], greatest[1])
        verdict = "different" if is_beyond else "within_tolerance"
        if found["verdict"] not in ("different", verdict):
            found.update(verdict=verdict, where=where, why=why, a=values[0], b=values[1])


def look(path: str, tolerance: float) -> dict[str, Any]:
    """The finding on one file. Raises whatever PyTorch raises for what it cannot load."""
    import torch  # type: ignore[import-not-found,unused-ignore]

    sides = [
        torch.load(os.path.join(side, path), map_location="cpu", weights_only=True)
        for side in ("a", "b")
    ]
    tally = Tally(torch, tolerance)
    tally.walk(sides[0], sides[1], "")
    return tally.found


def main() -> None:
    with open("question.json") as file:
        question = json.load(file)
    found = {}
    for path, tolerance in question["files"]:
        try:
            found[path] = look(path, tolerance)
        except Exception as error:  # noqa: BLE001 - it is told, and the bytes are compared
            sys.stderr.write(f"{path}: {error}\n")
    with open(os.path.join(os.environ["ZENKEI_OUTPUT_DIR"], "findings.json"), "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
