"""job.yaml to JobSpec: the entrance of this room.

`parse` is called by the daemon for every submission and by `zenkei run --check`; `from_flags` for
`zenkei run -- COMMAND`. Both raise InvalidInput (`invalid-job-file`) with every problem of the
input, and nothing else, whatever the bytes. Typical files take well under a millisecond.

Why a table of kinds instead of pydantic: values must be judged by the key's meaning from the text
that the author wrote (`python: 3.10`), every problem needs its line and column, and the room must
import quickly. One table gives parser, suggestions and JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping

from zenkei.model.job import JobSpec
from zenkei.spec.build import DEFAULTS, build
from zenkei.spec.envfiles import Read
from zenkei.spec.keys import FILE, HOMES
from zenkei.spec.problems import Reading
from zenkei.spec.tree import Node, from_values
from zenkei.spec.yamltext import read_tree


def parse(text: bytes, *, file: str, folder: str = "", read: Read | None = None) -> JobSpec:
    """The job that `text` asks for. Raises InvalidInput.

    file: its path or name, for messages. folder: the directory it stands in, for the job's default
    name (if empty, that of `file`). read: content of the files it names (requirements, lock), by
    path relative to it; without it such keys are refused.
    """
    to = Reading(file, HOMES, folder=folder)
    return _finish(read_tree(text, to), to, read)


def from_flags(
    values: Mapping[str, object], *, file: str = "command line", read: Read | None = None
) -> JobSpec:
    """The job that flags ask for: the same keys, nested in the same way. Raises InvalidInput.

    Values may be texts as typed (`"1.5h"`), numbers, lists or mappings.
    """
    to = Reading(file, HOMES)
    return _finish(from_values(values), to, read)


def _finish(tree: Node | None, to: Reading, read: Read | None) -> JobSpec:
    fields = FILE.read(tree, "", to) if tree is not None else None
    spec = build(fields, to, read) if fields is not None else DEFAULTS
    to.finish()
    return spec
