"""Runs the contracts of pyproject.toml on a planted tree; one process for all plants.

Called by test_contracts as `python -m tests.architecture.lint_plants PYPROJECT < plants.json` with
the planted tree's `src` on PYTHONPATH, because import-linter finds packages by importing. Reads a
list of plants (each a list of `[path, text]` below src), prints for each the ids of the contracts
that it breaks, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from importlinter import configuration
from importlinter.application import use_cases


def broken_contracts(pyproject: str) -> list[str]:
    """Ids of the contracts that the tree on sys.path breaks."""
    options = use_cases.read_user_options(pyproject)
    use_cases._register_contract_types(options)
    report = use_cases.create_report(options, cache_dir=None)
    if report.invalid_contract_options:
        raise SystemExit(f"contracts cannot be read: {report.invalid_contract_options}")
    ids = {contract["name"]: contract["id"] for contract in options.contracts_options}
    return sorted(
        ids[contract.name]
        for contract, check in report.get_contracts_and_checks()
        if not check.kept
    )


def try_plant(source: Path, plant: list[list[str]], pyproject: str) -> list[str]:
    """Put the plant's files below `source`, lint, and leave the tree as it was."""
    before: dict[Path, str | None] = {}
    for name, text in plant:
        path = source / name
        before[path] = path.read_text(encoding="utf-8") if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    try:
        return broken_contracts(pyproject)
    finally:
        for path, text_before in before.items():
            if text_before is None:
                path.unlink()
            else:
                path.write_text(text_before, encoding="utf-8")


def main() -> None:
    """Read plants from stdin, print what each breaks."""
    configuration.configure()
    source = Path(os.environ["PYTHONPATH"])
    plants = json.load(sys.stdin)
    # import-linter draws its progress on stdout; the answer must stand there alone
    with contextlib.redirect_stdout(sys.stderr):
        results = [try_plant(source, plant, sys.argv[1]) for plant in plants]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
