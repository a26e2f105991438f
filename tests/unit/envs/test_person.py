"""The person's settings reach uv, the daemon's secrets do not, and credentials show nowhere."""

from pathlib import Path

import pytest

from zenkei.envs.person import Person, masking


def person(environ: dict[str, str]) -> Person:
    """Without the settings of the machine that the test runs on."""
    return Person(environ, system=Path("/nonexistent"))


def test_only_package_settings_pass(tmp_path: Path):
    environ = {
        "HOME": str(tmp_path),
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "UV_INDEX_CORP_PASSWORD": "hunter22",
        "AWS_SECRET_ACCESS_KEY": "no",
        "ZENKEI_DATABASE": "no",
        "UV_PYTHON": "no",
        "UV_LINK_MODE": "hardlink",
        "UV_CACHE_DIR": "/elsewhere",
        "LD_PRELOAD": "no",
        "PYTHONPATH": "no",
        "CC": "clang",
    }
    plain = person(environ).environment(build=False)
    assert set(plain) == {
        *("HOME", "PATH", "HTTPS_PROXY", "UV_INDEX_CORP_PASSWORD"),
        *("UV_NO_CONFIG", "UV_PYTHON_DOWNLOADS", "UV_NO_PROGRESS", "NO_COLOR"),
    }
    assert plain["UV_PYTHON_DOWNLOADS"] == "never"
    assert set(person(environ).environment(build=True)) == set(plain) | {"CC"}


def test_pips_variables_are_translated(tmp_path: Path):
    environ = {
        "HOME": str(tmp_path),
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PIP_FIND_LINKS": "/wheels https://w.example/",
        "PIP_TRUSTED_HOST": "mirror.example",
        "PIP_DEFAULT_TIMEOUT": "60",
        "PIP_NO_INDEX": "1",
    }
    settings = person(environ)
    uv = settings.environment(build=False)
    assert uv["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert uv["UV_FIND_LINKS"] == "/wheels,https://w.example/"
    assert uv["UV_INSECURE_HOST"] == "mirror.example"
    assert uv["UV_HTTP_TIMEOUT"] == "60"
    assert settings.options() == ("--no-index",)


def test_pip_conf_counts_below_variables_and_uvs_own_above_both(tmp_path: Path):
    folder = tmp_path / ".config" / "pip"
    folder.mkdir(parents=True)
    (folder / "pip.conf").write_text("[global]\nindex-url = https://conf.example/s\ntimeout = 9\n")
    home = {"HOME": str(tmp_path)}
    assert person(home).environment(build=False)["UV_DEFAULT_INDEX"] == "https://conf.example/s"
    pip = {**home, "PIP_INDEX_URL": "https://var.example/s"}
    assert person(pip).environment(build=False)["UV_DEFAULT_INDEX"] == "https://var.example/s"
    uv = person({**pip, "UV_INDEX_URL": "https://uv.example/s"}).environment(build=False)
    assert uv["UV_INDEX_URL"] == "https://uv.example/s"
    assert "UV_DEFAULT_INDEX" not in uv


def test_uvs_own_settings_file_is_named_to_it(tmp_path: Path):
    folder = tmp_path / ".config" / "uv"
    folder.mkdir(parents=True)
    (folder / "uv.toml").write_text('index-url = "https://t.example/s"\n')
    one = person({"HOME": str(tmp_path)})
    assert one.environment(build=False)["UV_CONFIG_FILE"] == str(folder / "uv.toml")
    before = one.index_identity()
    (folder / "uv.toml").write_text('index-url = "https://other.example/s"\n')
    assert person({"HOME": str(tmp_path)}).index_identity() != before


def test_another_password_is_the_same_index_and_another_host_is_not(tmp_path: Path):
    def identity(url: str) -> str:
        return person({"HOME": str(tmp_path), "UV_DEFAULT_INDEX": url}).index_identity()

    assert identity("https://u:old1@i.example/s") == identity("https://u:new2@i.example/s")
    assert identity("https://u:old1@i.example/s") != identity("https://u:old1@j.example/s")
    assert "old1" not in identity("https://u:old1@i.example/s")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://u:pw123@h.example/s end", "at https://***@h.example/s end"),
        ("http://token99@h.example", "http://***@h.example"),
        ("https://h.example/s?token=abc&x=1", "https://h.example/s?token=***&x=1"),
        ("git+ssh://git@h.example/x", "git+ssh://***@h.example/x"),
        ("a plain line, user@example", "a plain line, user@example"),
    ],
)
def test_credentials_in_any_address_are_masked(text, shown):
    assert masking({})(text) == shown


@pytest.mark.parametrize(
    "values",
    [
        {"UV_DEFAULT_INDEX": "https://user:s3cr%40t@h.example/s"},
        {"UV_INDEX": "corp=https://user:s3cr%40t@h.example/s other=https://o.example"},
        {"HTTPS_PROXY": "http://user:s3cr%40t@proxy.example:1"},
        {"UV_INDEX_CORP_PASSWORD": "s3cr@t"},
    ],
)
def test_a_known_password_is_masked_wherever_it_shows(values):
    assert "s3cr@t" not in masking(values)("the password is s3cr@t")


def test_a_token_in_an_indexs_path_is_masked():
    token = "AbC123def456ghi789jkl0"
    mask = masking({"UV_DEFAULT_INDEX": f"https://h.example/basic/{token}/simple"})
    assert mask(f"Failed to fetch https://h.example/basic/{token}/simple/x") == (
        "Failed to fetch https://h.example/basic/***/simple/x"
    )
