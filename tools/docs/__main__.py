"""Writes docs/reference and made guides, or with --check says what is not current (exit 1)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.docs import (
    cli_page,
    errors_page,
    failures_page,
    http_page,
    record_page,
    spec_pages,
    state_pages,
)

REPO = Path(__file__).resolve().parent.parent.parent
REFERENCE = REPO / "docs" / "reference"


def complaints() -> list[str]:
    """What no page can be made without; empty if nothing is missing."""
    found = errors_page.differences(errors_page.codes(REPO), errors_page.texts())
    return found + record_page.differences(record_page.texts())


def pages() -> dict[str, str]:
    """Name of the page to its text. Raises KeyError if something has no text."""
    return {
        "job-file.md": spec_pages.job_file(),
        "cluster-file.md": spec_pages.cluster_file(),
        "errors.md": errors_page.errors_page(errors_page.codes(REPO), errors_page.texts()),
        "events.md": state_pages.events(),
        "states.md": state_pages.states(),
        "settings.md": spec_pages.settings(),
        "cli.md": cli_page.cli(),
        "http.md": http_page.http_routes(),
        "record.md": record_page.record(record_page.texts()),
        "../guides/failures.md": failures_page.failures(),
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m tools.docs")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if not current")
    check = parser.parse_args(argv).check
    wrong = complaints()
    if not wrong:
        wrong = _compare() if check else _write()
    for line in wrong:
        print(f"docs: {line}", file=sys.stderr)
    return 1 if wrong else 0


def _compare() -> list[str]:
    made = pages()
    old = [
        f"docs/reference/{name} is not current: run `make docs`"
        for name, text in made.items()
        if not (REFERENCE / name).is_file() or (REFERENCE / name).read_text("utf-8") != text
    ]
    left = {path.name for path in REFERENCE.glob("*.md")} - made.keys()
    return old + [f"docs/reference/{name} is made by nothing" for name in sorted(left)]


def _write() -> list[str]:
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, "utf-8")
    return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
