"""`python -m bench [NAME …]`: run benchmarks (all of them without names), print and keep figures.

A benchmark is a module of this package with `rows() -> list[Row]`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import bench
from bench.report import Row, machine, show, write

HELPERS = {"__main__", "report", "plant", "packing", "quality", "dvc", "traces"}


def main() -> int:
    names = [m.name for m in pkgutil.iter_modules(bench.__path__) if m.name not in HELPERS]
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", type=Path, default=Path(".cache/bench.json"))
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"no benchmark {sorted(unknown)}; there are {', '.join(names)}")
    rows: list[Row] = []
    for name in arguments.names or names:
        module = importlib.import_module(f"bench.{name}")
        print(f"# {name}", file=sys.stderr, flush=True)
        rows += module.rows()
    print("  ".join(f"{key}={value}" for key, value in machine().items()))
    print(show(rows))
    write(rows, arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
