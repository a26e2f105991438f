"""What may stand in an environment, and what uv must never be told."""

import pytest

from zenkei.envs import wishes
from zenkei.model.errors import InvalidInput, NotAvailable
from zenkei.model.job import EnvRequest

HASH = "--hash=sha256:" + "a" * 64


def test_packages_and_requirements_are_joined_sorted_and_freed_of_comments():
    asked = wishes.of(
        EnvRequest(packages=("scipy",), requirements="numpy>=2  # why\n\n# no\nscipy\n")
    )
    assert asked.lines == ("numpy>=2", "scipy")


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy>=2,<3",
        "uvicorn[standard]==0.30",
        "tomli ; python_version < '3.11'",
        "name @ https://wheels.example/name-1.0-py3-none-any.whl",
        "ruamel.yaml~=0.18",
        "torch (>=2)",
    ],
)
def test_what_pip_takes_by_name_is_taken(line):
    assert wishes.of(EnvRequest(packages=(line,))).lines == (line,)


@pytest.mark.parametrize(
    "line",
    [
        "-r /etc/passwd",
        "-e .",
        "--constraint other.txt",
        "--config-setting=x=y",
        "--index-url file:///etc",
        "--index-url=https://user:pass@wheels.example/simple",
        "./pkg",
        "../pkg",
        "~/pkg",
        "/etc",
        "pkg @ file:///etc/passwd",
        "pkg @ ./x",
        "git+https://git.example/x.git",
        "pkg @ git+https://git.example/x.git",
        "pkg @ https://token@git.example/x.whl",
        "--extra-index-url https://wheels.example/${UV_INDEX_CORP_PASSWORD}",
        "numpy\0",
        "$(reboot)",
    ],
)
def test_paths_options_variables_and_credentials_are_refused(line):
    with pytest.raises(InvalidInput) as caught:
        wishes.of(EnvRequest(requirements=f"numpy\n{line}\n"))
    assert "pass@" not in caught.value.message
    assert "token@" not in caught.value.message
    assert caught.value.hint


def test_an_option_behind_a_continued_line_is_refused_too():
    with pytest.raises(InvalidInput):
        wishes.of(EnvRequest(requirements="\\\n-r /etc/passwd\n"))


def test_index_options_come_in_uvs_spelling():
    text = (
        "-i https://a.example/s\n--extra-index-url  https://b.example/s\n-f https://c.example/\nx\n"
    )
    assert wishes.of(EnvRequest(requirements=text)).options == (
        "--index-url=https://a.example/s",
        "--extra-index-url=https://b.example/s",
        "--find-links=https://c.example/",
    )


def test_a_lock_beside_packages_is_refused():
    with pytest.raises(InvalidInput):
        wishes.of(EnvRequest(lock=f"a==1 {HASH}", packages=("b",)))


def test_a_lock_must_pin_each_package_by_hash():
    with pytest.raises(InvalidInput) as caught:
        wishes.of(EnvRequest(lock=f"ok==1 {HASH}\nloose>=1 {HASH}\nbare==1\n"))
    assert "line 2: no exact version: loose>=1" in caught.value.message
    assert "line 3: no hash: bare==1" in caught.value.message


def test_a_lock_as_uv_writes_it_is_understood():
    text = f"# by uv\nA==1 {HASH}\n"
    text += f"b[x]==2 ; python_version > '3' \\\n    {HASH} \\\n    {HASH}\n    # via a\n"
    asked = wishes.of(EnvRequest(lock=text))
    assert asked.lines == (f"A==1 {HASH}", f"b[x]==2 ; python_version > '3' {HASH}")
    assert asked.locked


def test_a_pylock_is_read_without_its_addresses():
    text = f"""
lock-version = "1.0"
[[packages]]
name = "apple"
version = "1.0"
marker = "sys_platform == 'linux'"
wheels = [{{ url = "https://wheels.example/a.whl", hashes = {{ sha256 = "{"a" * 64}" }} }}]
"""
    asked = wishes.of(EnvRequest(lock=text))
    assert asked.lines == (f"apple==1.0 ; sys_platform == 'linux' {HASH}",)


@pytest.mark.parametrize("text", ["lock-version = 1\n[[[", 'lock-version = "1"\npackages = [1]\n'])
def test_a_damaged_pylock_is_an_error_for_a_person(text):
    with pytest.raises(InvalidInput, match=r"pylock\.toml"):
        wishes.of(EnvRequest(lock=text))


def test_a_project_lock_is_refused_with_the_way_out():
    with pytest.raises(NotAvailable) as caught:
        wishes.of(EnvRequest(lock='version = 1\n[[package]]\nname = "a"\n'))
    assert "uv export" in caught.value.hint
