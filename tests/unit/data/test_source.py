"""What git says about the code, and that a hostile repository runs nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.conftest import Write
from zenkei.data import git as git_module
from zenkei.data import source
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.source import public_url
from zenkei.data.tree import DirectoryTrees
from zenkei.model.data import Digest
from zenkei.model.job import CodeRequest


@pytest.fixture(autouse=True)
def own_git_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No configuration of the machine's; HOME is the test's."""
    home = tmp_path / "user"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    return home


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    ran = subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return ran.stdout.strip()


@pytest.fixture
def repository(write: Write) -> Path:
    root = write({"train.py": "one\n", "lib/a.py": "a\n", "data.bin": b"\0\1\2"})
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


class Recorder:
    def __init__(self, trees: DirectoryTrees, blobs: DirectoryBlobs) -> None:
        self.trees, self.blobs = trees, blobs

    def __call__(self, root: Path) -> dict[str, Any]:
        content = self.blobs.get(self.trees.snapshot(root, CodeRequest()).source)
        assert content.startswith(source.HEADER)
        document: dict[str, Any] = json.loads(content)
        return document

    def diff(self, document: dict[str, Any]) -> str:
        return self.blobs.get(Digest(document["git"]["diff"])).decode()


@pytest.fixture
def record(trees: DirectoryTrees, blobs: DirectoryBlobs) -> Recorder:
    return Recorder(trees, blobs)


def test_a_clean_repository(record: Recorder, repository: Path):
    git(repository, "remote", "add", "origin", "https://me:s3cret@example.org/team/repo.git?t=1")
    assert record(repository)["git"] == {
        "branch": "main",
        "commit": git(repository, "rev-parse", "HEAD"),
        "diff": "",
        "diff_bytes": 0,
        "diff_cut": False,
        "dirty": False,
        "remote": "https://example.org/team/repo.git",
    }


def test_uncommitted_changes_are_in_the_diff_and_it_applies(
    record: Recorder, repository: Path, tmp_path: Path
):
    (repository / "train.py").write_text("two\n")
    (repository / "data.bin").write_bytes(b"\0\3")
    (repository / "lib/a.py").unlink()
    document = record(repository)
    assert document["git"]["dirty"] is True
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    (tmp_path / "patch").write_text(record.diff(document))
    git(clone, "apply", str(tmp_path / "patch"))
    assert (clone / "train.py").read_text() == "two\n"
    assert (clone / "data.bin").read_bytes() == b"\0\3"
    assert not (clone / "lib/a.py").exists()


def test_a_part_of_a_repository_records_only_its_own_diff(record: Recorder, repository: Path):
    (repository / "train.py").write_text("two\n")
    assert record(repository / "lib")["git"]["dirty"] is False
    (repository / "lib/a.py").write_text("b\n")
    diff = record.diff(record(repository / "lib"))
    assert "+++ b/a.py" in diff
    assert "train.py" not in diff


def test_secrets_that_do_not_travel_are_not_in_the_diff_either(record: Recorder, write: Write):
    root = write({".env": "A=1\n", "keys/tls.pem": "x\n", "train.py": "one\n"})
    git(root, "init", "-q")
    git(root, "add", "-f", ".")
    git(root, "commit", "-q", "-m", "first")
    (root / ".env").write_text("A=s3cret\n")
    (root / "keys/tls.pem").write_text("-----BEGIN RSA PRIVATE KEY-----\ns3cret\n")
    (root / "train.py").write_text("two\n")
    diff = record.diff(record(root))
    assert "+two" in diff
    assert "s3cret" not in diff


def test_a_large_diff_is_cut(record: Recorder, repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source, "MAX_DIFF_BYTES", 1000)
    (repository / "train.py").write_text("line\n" * 100_000)
    document = record(repository)["git"]
    assert (document["diff_bytes"], document["diff_cut"], document["dirty"]) == (1000, True, True)


def test_a_repository_without_a_commit(record: Recorder, write: Write):
    root = write({"a": ""})
    git(root, "init", "-q", "-b", "trunk")
    git(root, "add", ".")
    document = record(root)["git"]
    assert (document["commit"], document["branch"], document["dirty"]) == ("", "trunk", True)


def test_a_detached_head_has_no_branch(record: Recorder, repository: Path):
    git(repository, "checkout", "-q", "--detach")
    assert record(repository)["git"]["branch"] == ""


def test_no_repository_is_fine(record: Recorder, write: Write):
    assert record(write({"a": ""})) == {
        "zenkei": "source", "version": 1, "git": None, "why": "not in a git repository",
    }  # fmt: skip


def test_no_git_is_fine(record: Recorder, repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert record(repository)["why"] == "git is not installed"


def test_a_broken_repository_is_fine(record: Recorder, write: Write):
    document = record(write({"a": "", ".git/HEAD": "nonsense"}))
    assert document["git"] is None
    assert "not a git repository" in document["why"]


@pytest.mark.root
def test_somebody_elses_repository_is_not_asked(record: Recorder, repository: Path):
    subprocess.run(["chown", "-R", "65534:65534", repository], check=True)
    document = record(repository)
    assert document["git"] is None
    assert "dubious ownership" in document["why"]


def test_a_git_that_hangs_is_given_up(
    record: Recorder, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(git_module, "TIME_LIMIT_S", 0.3)
    assert "git took more than" in record(repository)["why"]


def test_variables_of_git_do_not_mislead(
    record: Recorder, repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "/bin/false")
    assert record(repository)["git"]["branch"] == "main"


class TestHostileRepository:
    """Each key would run `touch <file>`; the control shows that git itself does so."""

    @pytest.fixture
    def trap(self, tmp_path: Path) -> Path:
        script = tmp_path / "trap.sh"
        script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/ran\ncat\n")
        script.chmod(0o755)
        return script

    def sprung(self, tmp_path: Path) -> bool:
        return (tmp_path / "ran").exists()

    ATTACKS = (
        {"core.fsmonitor": "{trap}"},
        {"diff.external": "{trap}"},
        {"diff.evil.textconv": "{trap}"},
        {"diff.evil.command": "{trap}"},
        {"filter.evil.clean": "{trap}"},
        {"filter.evil.process": "{trap}"},
        {"filter.evil.clean": "{trap}", "filter.evil.required": "true"},
        {"core.hooksPath": "{hooks}"},
        {"core.pager": "{trap}", "pager.diff": "true", "pager.status": "true"},
    )

    @pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: next(iter(attack)))
    def test_nothing_that_the_configuration_names_is_run(
        self, record: Recorder, repository: Path, trap: Path, tmp_path: Path,
        attack: dict[str, str],
    ):  # fmt: skip
        hooks = tmp_path / "hooks"
        hooks.mkdir()
        for hook in ("post-index-change", "fsmonitor-watchman"):
            (hooks / hook).symlink_to(trap)
        (repository / ".gitattributes").write_text("* diff=evil filter=evil\n")
        for key, value in attack.items():
            git(repository, "config", key, value.format(trap=trap, hooks=hooks))
        (repository / "train.py").write_text("two\n")
        os.utime(repository / "lib/a.py", (0, 0))  # git must look into it to know
        if "core.pager" not in attack:
            for command in (["status"], ["diff", "HEAD"]):
                subprocess.run(["git", *command], cwd=repository, capture_output=True, check=False)
            assert self.sprung(tmp_path), "the control: git alone runs it"
            (tmp_path / "ran").unlink()
        os.utime(repository / "lib/a.py", (9, 9))
        document = record(repository)
        assert not self.sprung(tmp_path)
        assert document["git"]["dirty"] is True
        assert "+two" in record.diff(document)

    def test_configuration_that_is_included_is_no_way_round(
        self, record: Recorder, repository: Path, trap: Path, tmp_path: Path
    ):
        (tmp_path / "more").write_text(f'[filter "evil"]\n\tclean = {trap}\n')
        git(repository, "config", "include.path", str(tmp_path / "more"))
        (repository / ".gitattributes").write_text("* filter=evil\n")
        os.utime(repository / "lib/a.py", (0, 0))
        assert record(repository)["git"] is not None
        assert not self.sprung(tmp_path)

    def test_the_users_own_filter_is_kept_and_cannot_be_redirected(
        self, record: Recorder, repository: Path, trap: Path, tmp_path: Path,
        own_git_settings: Path,
    ):  # fmt: skip
        (own_git_settings / ".gitconfig").write_text('[filter "up"]\n\tclean = tr a-z A-Z\n')
        git(repository, "config", "filter.up.clean", str(trap))
        (repository / ".gitattributes").write_text("train.py filter=up\n")
        (repository / "train.py").write_text("two\n")
        assert "+TWO" in record.diff(record(repository))
        assert not self.sprung(tmp_path)

    def test_a_work_tree_elsewhere_is_not_read(
        self, record: Recorder, repository: Path, tmp_path: Path
    ):
        git(repository, "config", "core.worktree", "/etc")
        document = record(repository)
        assert document["git"] is None
        assert "elsewhere" in document["why"]

    def test_missing_objects_are_not_fetched(
        self, record: Recorder, repository: Path, trap: Path, tmp_path: Path
    ):
        trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        for key, value in {
            "core.repositoryformatversion": "1",
            "extensions.partialClone": "evil",
            "remote.evil.url": f"ext::{trap}",
            "remote.evil.promisor": "true",
            "protocol.ext.allow": "always",
        }.items():
            git(repository, "config", key, value)
        blob = git(repository, "rev-parse", "HEAD:train.py")
        (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()
        (repository / "train.py").write_text("two\n")
        subprocess.run(["git", "diff", "HEAD"], cwd=repository, capture_output=True, check=False)
        assert self.sprung(tmp_path), "the control: git alone runs it"
        (tmp_path / "ran").unlink()
        record(repository)
        assert not self.sprung(tmp_path)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://host/a.git", "https://host/a.git"),
        ("https://user:pw@host:8443/a", "https://host:8443/a"),
        ("https://ghp_token@host/a", "https://host/a"),
        ("https://host/a?private_token=x#y", "https://host/a"),
        ("ssh://git:pw@host:22/a", "ssh://git@host:22/a"),
        ("git@host:team/a.git", "git@host:team/a.git"),
        ("git:pw@host:team/a.git", "git@host:team/a.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("../a", "../a"),
        ("ext::sh -c secret", ""),
        ("https://[bad", ""),
    ],
)
def test_a_remote_is_recorded_without_credentials(url: str, public: str):
    assert public_url(url) == public
