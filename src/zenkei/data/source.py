"""Where code came from: git's commit, branch, remote and diff, as a JSON document in the store.

Called by `tree.snapshot`, which stores the tree itself: this is for people and for the record, so
whatever git cannot say is said there (`why`) and never an error. The document:

    {"zenkei":"source","version":1,"git":{"branch":"main","commit":"...","diff":"b3:...",
     "diff_bytes":1234,"diff_cut":false,"dirty":true,"remote":"https://host/path"},"why":""}

dirty: tracked files below the tree's root differ from the commit. diff: digest of `git diff HEAD`
of these, relative to the root, without the files that were left out of the tree; cut at 4 MiB.
remote: without user and password. Submodules are not looked into.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from zenkei.data.batch import Batch
from zenkei.data.git import Git, GitError
from zenkei.data.manifest import path_bytes
from zenkei.data.scan import repository_top
from zenkei.model.data import Digest
from zenkei.ports.trees import LeftOut

HEADER: Final = b'{"zenkei":"source"'
MAX_DIFF_BYTES: Final = 4 << 20
MAX_STATUS_BYTES: Final = 1 << 16
MAX_EXCLUDED: Final = 500
SECRET_NAMES: Final = (".env", ".env.*", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc")


def record_source(root: Path, batch: Batch, left_out: tuple[LeftOut, ...]) -> Digest:
    """Store the document (and the diff); `root` is absolute and resolved."""
    git: dict[str, object] | None = None
    why = ""
    top = repository_top(root)
    if top is None:
        why = "not in a git repository"
    else:
        try:
            git = _describe(Git(root, top), batch, left_out)
        except GitError as error:
            why = str(error)[:500]
    document = {"zenkei": "source", "version": 1, "git": git, "why": why}
    return batch.add(json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n")


def referenced(document: bytes) -> list[Digest]:
    """Digests that a source document names, for the collector."""
    git = json.loads(document)["git"] or {}
    return [Digest(git["diff"])] if git.get("diff") else []


def _describe(git: Git, batch: Batch, left_out: tuple[LeftOut, ...]) -> dict[str, object]:
    listing, cut = git.run(
        "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=no",
        "--ignore-submodules=all", "--no-renames", "--", ".",
        limit_bytes=MAX_STATUS_BYTES,
    )  # fmt: skip
    lines = listing.decode("utf-8", "surrogateescape").split("\0")
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit = headers.get("branch.oid", "")
    commit = "" if commit == "(initial)" else commit
    branch = headers.get("branch.head", "")
    branch = "" if branch == "(detached)" else branch
    dirty = cut or any(line and not line.startswith("# ") for line in lines)
    diff, diff_cut = _diff(git, left_out) if dirty and commit else (b"", False)
    return {
        "branch": branch,
        "commit": commit,
        "diff": batch.add(diff) if diff else "",
        "diff_bytes": len(diff),
        "diff_cut": diff_cut,
        "dirty": dirty,
        "remote": _remote(git.config, branch),
    }


def _diff(git: Git, left_out: tuple[LeftOut, ...]) -> tuple[bytes, bool]:
    secret = [f":(exclude,glob)**/{name}".encode() for name in SECRET_NAMES]
    excluded = [b":(exclude,literal)" + path_bytes(out.path) for out in left_out[:MAX_EXCLUDED]]
    return git.run(
        "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", "--full-index",
        "--ignore-submodules=all", "--no-renames", "--relative", "HEAD", "--", ".",
        *secret, *excluded,
        limit_bytes=MAX_DIFF_BYTES,
    )  # fmt: skip


def _remote(config: dict[str, str], branch: str) -> str:
    names = [config.get(f"branch.{branch}.remote", ""), "origin"]
    for name in names:
        if url := config.get(f"remote.{name}.url"):
            return public_url(url)
    return ""


def public_url(url: str) -> str:
    """Without password, token or query; empty if it cannot be told what is what."""
    if "://" in url:
        try:
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
            # over ssh the name says which account is used and opens nothing by itself
            if parts.scheme in {"ssh", "git+ssh"} and parts.username:
                host = f"{parts.username}@{host}"
            return urlunsplit((parts.scheme, host, parts.path, "", ""))
        except ValueError:
            return ""
    if "::" in url:
        return ""
    match = re.fullmatch(r"([^/@:]+)(?::[^/@]*)?@(.*)", url, re.DOTALL)
    return f"{match[1]}@{match[2]}" if match else url
