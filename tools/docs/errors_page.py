"""`errors.md`: every code with its place in the error tree, what it means and what to do.

The explanations are written by hand in `error_texts.toml`; the codes come from the source.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from tools.docs.error_codes import Found, Use, scan
from tools.docs.markdown import page, table
from zenkei.model import errors

INTRO = """
An error says what happened, with the value, and what to do. On the terminal it is `error: …` and
`hint: …` on standard error; with `--json` it is a document on standard output:
`{"error": {code, message, hint, details, problems}, "exit": {…}}`. Waiting is not an error.
"""
TEXTS = Path(__file__).with_name("error_texts.toml")
KINDS = {
    "InvalidInput": "what was asked is malformed or impossible",
    "NotAvailable": "valid, but this version or machine cannot do it",
    "NotFound": "no such thing, or the caller may not know of it",
    "Denied": "the caller may not do this",
    "Conflict": "the thing's state does not allow it (now)",
    "Unavailable": "a part does not answer; trying again may help",
    "InternalError": "a defect of zenkei; has an incident number",
}


def texts() -> dict[str, dict[str, str]]:
    """Code to {means, do}."""
    return tomllib.loads(TEXTS.read_text("utf-8"))


def codes(repo: Path) -> Found:
    """All codes of the product. The simulator's doubles are not part of it."""
    source = repo / "src" / "zenkei"
    paths = [p for p in sorted(source.rglob("*.py")) if p != source / "sim" / "doubles.py"]
    return scan(paths, repo)


def differences(found: Found, written: dict[str, dict[str, str]]) -> list[str]:
    """What keeps the page from being complete; empty if nothing does."""
    complaints = [f"this place's error code cannot be read: {place}" for place in found.unread]
    for code in sorted(found.codes - written.keys()):
        use = next(use for use in found.uses if use.code == code)
        complaints.append(
            f"error code `{code}` ({use.file}:{use.line}) has no text in {TEXTS.name}"
        )
    complaints += [
        f"{TEXTS.name} explains `{code}`, which no source file uses"
        for code in sorted(written.keys() - found.codes)
    ]
    for code, text in written.items():
        if set(text) != {"means", "do"} or not all(text.values()):
            complaints.append(f"{TEXTS.name}: `{code}` needs `means` and `do`")
    return complaints


def errors_page(found: Found, written: dict[str, dict[str, str]]) -> str:
    parts = [
        INTRO,
        "## Kinds",
        table(["kind", "status", "exit code", "meaning"], _kinds()),
        "## Codes",
    ]
    by_code: dict[str, list[Use]] = {}
    for use in found.uses:
        by_code.setdefault(use.code, []).append(use)
    for code in sorted(by_code):
        text = written[code]
        parts += [f"### {code}", _kind_line(by_code[code]), text["means"], text["do"]]
    return page("Errors", *parts)


def _kinds() -> list[list[str]]:
    rows = []
    for name, meaning in KINDS.items():
        kind = getattr(errors, name)
        rows.append([name, str(kind.status), str(kind.exit_code), meaning])
    return rows


def _kind_line(uses: list[Use]) -> str:
    names = {"Failure": "the command line", "Disconnected": "the command line"}
    names |= {"NotRunning": "the command line", "Problem": "a problem in an input"}
    kinds = list(dict.fromkeys(names.get(use.kind, use.kind) for use in uses))
    return f"*{', '.join(kinds)}*"
