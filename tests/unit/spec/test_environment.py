"""The `env` section: what looks like a secret, and the files that it names."""

import pytest

from zenkei import spec
from zenkei.model.errors import InvalidInput, NotFound, Problem
from zenkei.model.job import EnvRequest
from zenkei.spec.envfiles import looks_secret


def env(section: str, files: dict[str, bytes] | None = None) -> EnvRequest:
    page = f"command: x\nenv: {section}".encode()
    return spec.parse(page, file="job.yaml", read=(files or {}).__getitem__).env


def problems(section: str, files: dict[str, bytes] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(InvalidInput) as caught:
        env(section, files)
    return caught.value.problems


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "TOKEN",
        "hfToken",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "OPENAI_API_KEY",
        "APIKEY",
        "KEY",
        "PGPASSWORD",
        "DB_PASSWORD",
        "SSH_PASSPHRASE",
        "GCP_CREDENTIALS",
    ],
)
def test_a_name_that_looks_like_a_secret(name: str):
    assert looks_secret(name, "anything")


@pytest.mark.parametrize(
    "name",
    [
        "MONKEY",
        "KEYBOARD",
        "TURKEY_BASTER",
        "MAX_TOKENS",
        "TOKENIZERS_PARALLELISM",
        "TOKEN_LIMIT",
        "SECRETARY",
        "PATH",
        "_",
    ],
)
def test_a_name_that_does_not(name: str):
    assert not looks_secret(name, "anything")


def test_a_switch_is_no_secret_whatever_its_name():
    assert env("{vars: {USE_API_KEY: false}}").vars == {"USE_API_KEY": "false"}


def test_the_author_can_say_that_a_name_is_public():
    assert env("{vars: {SORT_KEY: name}, public: [SORT_KEY]}").vars == {"SORT_KEY": "name"}


def test_a_known_token_is_refused_even_under_a_public_name():
    token = "ghp_" + "a" * 36
    found = problems(f"{{vars: {{SORT_KEY: {token}}}, public: [SORT_KEY]}}")
    assert [p.code for p in found] == ["looks-like-a-secret"]
    assert token not in str(found)


def test_requirements_are_one_line_each_without_comments():
    files = {
        "req/all.txt": b"\xef\xbb\xbf# all\r\n-r base.txt\r\ntorch>=2 \\\r\n  --hash=sha256:aa\r\n"
        b"--extra-index-url https://example.invalid/cpu  # wheels\r\n",
        "req/base.txt": b"numpy\n-r all.txt\n",
    }
    assert env("{requirements: ./req/all.txt}", files).requirements == (
        "numpy\ntorch>=2 --hash=sha256:aa\n--extra-index-url https://example.invalid/cpu\n"
    )


def test_equal_wishes_make_equal_environments():
    one = env("{requirements: a.txt}", {"a.txt": b"numpy\nscipy\n"})
    other = env("{requirements: b.txt}", {"b.txt": b"# hi\nnumpy   # x\n\nscipy"})
    assert one == other


def test_a_chain_of_files_ends():
    files = {f"{n}.txt": b"-r %d.txt\n" % (n + 1) for n in range(100)}
    assert [p.code for p in problems("{requirements: 0.txt}", files)] == ["too-large"]


@pytest.mark.parametrize("line", ["-r/etc/passwd", "-r ../../x", "--requirement=/x", "-r ~/x"])
def test_a_requirements_file_cannot_lead_outside(line: str):
    assert problems("{requirements: a.txt}", {"a.txt": line.encode()})[0].code == "file-not-usable"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "~/x", "file:///x", "a/../../x"])
def test_the_job_file_cannot_name_files_outside(path: str):
    assert [p.code for p in problems(f"{{lock: '{path}'}}")] == ["bad-value"]


def test_without_a_reader_files_cannot_be_named():
    with pytest.raises(InvalidInput) as caught:
        spec.parse(b"command: x\nenv: {lock: a}", file="job.yaml")
    assert "no files can be read here" in caught.value.message


@pytest.mark.parametrize(
    "error",
    [NotFound("no-such-file", "a.lock was not sent"), OSError("a.lock was not sent")],
)
def test_what_the_reader_says_is_told(error: Exception):
    def read(path: str) -> bytes:
        raise error

    with pytest.raises(InvalidInput, match=r"a\.lock was not sent"):
        spec.parse(b"command: x\nenv: {lock: a.lock}", file="job.yaml", read=read)


def test_packages_are_a_set():
    assert env("{packages: [scipy, numpy, scipy]}").packages == ("numpy", "scipy")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\xff", "file-not-usable"),
        (b"a\0b", "file-not-usable"),
        (b"#" * (1 << 20) + b"#", "too-large"),
        (b"https://me:pw@example.invalid/x.whl", "looks-like-a-secret"),
    ],
)
def test_a_file_that_cannot_be_kept(content: bytes, code: str):
    found = problems("{requirements: a.txt}", {"a.txt": content})
    assert [p.code for p in found] == [code]
    assert "pw" not in found[0].message
