"""The pages of the repository and what stands in them: blocks, links, headings, commands."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"(?<!\!)\[[^\]\n]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block. line: of its first line of text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Everything that people read, the reference included."""
    return [*sorted(REPO.glob("*.md")), *sorted((REPO / "docs").rglob("*.md"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(REPO))


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks in one of `languages`."""
    found = []
    for path in pages():
        text = path.read_text("utf-8")
        for match in _FENCE.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 2
                block = Block(page=name_of(path), line=line, language=match[1], text=match[2])
                found.append(block)
    return found


def prose(path: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", path.read_text("utf-8"))


def links(path: Path) -> list[str]:
    """Targets of links that stay in the repository."""
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    return [t for t in _LINK.findall(text) if not re.match(r"[a-z]+:", t)]


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as the usual renderers make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*?) *$", prose(path), re.M):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.replace(" ", "-"))
    return found


def commands_in(text: str) -> list[list[str]]:
    """Words of each `zenkei …` in a shell text, up to what ends a command there."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line)
        for part in re.split(r"&&|\|\||[|;]|\$\(", re.sub(r"^\s*\$ ", "", bare)):
            words = _words(part)
            if words[:1] == ["zenkei"]:
                found.append(words[1:])
    return found


def commands_named(text: str) -> list[list[str]]:
    """Words of each `zenkei …` that stands between backquotes in running text."""
    spans = (_words(span) for span in _SPAN.findall(text))
    return [words[1:] for words in spans if words[:1] == ["zenkei"]]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
