"""The person's own package settings: index, proxy, certificates, credentials; and their masking.

Called by `builder` once. What uv's child gets is built up from nothing: only what is listed here
passes, so that no secret of the daemon reaches a resolver or a package's set-up code. pip's
settings count too (variables, then pip.conf), translated to uv's; uv's own win. Credentials go to
the child and nowhere else: `mask` removes them from every line that a person, a record or an error
gets.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

_PASSED: Final = frozenset(
    {
        *("HOME", "LANG", "LC_ALL", "NETRC", "PATH", "TMPDIR", "USER", "XDG_CONFIG_HOME"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"),
        *("UV_FIND_LINKS", "UV_NO_INDEX", "UV_INDEX_STRATEGY", "UV_INSECURE_HOST"),
        *("UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_HTTP_CONNECT_TIMEOUT", "UV_KEYRING_PROVIDER"),
        *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_OFFLINE", "UV_CREDENTIALS_DIR"),
        *("UV_CONCURRENT_DOWNLOADS", "UV_EXCLUDE_NEWER", "UV_PYTHON_INSTALL_DIR"),
    }
)
_PASSED_INDEX: Final = re.compile(r"UV_INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD)")
_BUILD: Final = re.compile(
    r"CC|CXX|FC|LD|AR|(C|CXX|CPP|F|LD)FLAGS|CUDA_HOME|CUDA_PATH|CUDACXX|MAKEFLAGS|MAX_JOBS"
    r"|TORCH_CUDA_ARCH_LIST|PKG_CONFIG_PATH|LD_LIBRARY_PATH|LIBRARY_PATH|CPATH|CMAKE_[A-Z_]+|MPICC"
)
_DECIDES: Final = (
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
    *("UV_NO_INDEX", "UV_INDEX_STRATEGY", "UV_EXCLUDE_NEWER", "UV_CONFIG_FILE"),
)
"""What changes the answer of a resolution, apart from the request."""
_NO_INDEX: Final = "UV_NO_INDEX"
"""uv knows the option only, not the variable: `options` gives it on."""
_PIP: Final = {
    "index_url": "UV_DEFAULT_INDEX",
    "extra_index_url": "UV_EXTRA_INDEX_URL",
    "find_links": "UV_FIND_LINKS",
    "trusted_host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "default_timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "no_index": _NO_INDEX,
}
_SAME_AS: Final = {
    "UV_DEFAULT_INDEX": "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL": "UV_INDEX",
}
_CREDENTIAL: Final = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@'\"`<>]*@", re.I)
_QUERY: Final = re.compile(
    r"([?&](?:[a-z_-]*(?:token|key|secret|password|auth|sig(?:nature)?))=)[^&\s'\"`<>]+", re.I
)
_TOKEN: Final = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_.~=-]{20,}")


class Person:
    """environ: of the daemon. Reads pip.conf when made; uv reads its settings and netrc itself.

    system: where settings for all people lie.
    """

    def __init__(self, environ: Mapping[str, str], system: Path = Path("/etc")) -> None:
        values = {
            name: value
            for name, value in environ.items()
            if name in _PASSED or _PASSED_INDEX.fullmatch(name)
        }
        home = environ.get("HOME", "")
        for name, value in _pip_settings(environ, home, system).items():
            if name not in values and _SAME_AS.get(name, name) not in values:
                values[name] = value
        if "SSL_CERT_FILE" not in values and "REQUESTS_CA_BUNDLE" in values:
            values["SSL_CERT_FILE"] = values["REQUESTS_CA_BUNDLE"]
        config = _uv_config(environ, home, system)
        if config:
            values["UV_CONFIG_FILE"] = config
        else:
            # without it uv would look for settings in every folder above the one it works in
            values["UV_NO_CONFIG"] = "1"
        values.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
        values["UV_PYTHON_DOWNLOADS"] = "never"
        values["UV_NO_PROGRESS"] = "1"
        values["NO_COLOR"] = "1"
        self._values = values
        self._build = {name: v for name, v in environ.items() if _BUILD.fullmatch(name)}
        self.mask = masking(values)

    def environment(self, *, build: bool) -> dict[str, str]:
        """For uv's child. build: with compilers' settings."""
        return {**self._values, **self._build} if build else dict(self._values)

    def options(self) -> tuple[str, ...]:
        """What uv takes as options only."""
        no_index = self._values.get(_NO_INDEX, "").lower() in {"1", "true", "yes", "on"}
        return ("--no-index",) if no_index else ()

    def index_identity(self) -> str:
        """What of the settings decides a resolution, without credentials."""
        pairs = [(name, self.mask(self._values.get(name, ""))) for name in _DECIDES]
        config = self._values.get("UV_CONFIG_FILE")
        text = _text(Path(config)) if config else ""
        return repr([*pairs, self.mask(text)])


def masking(values: Mapping[str, str]) -> Callable[[str], str]:
    """A function that removes known secrets, and user:password@ and tokens in any address."""
    known: dict[str, str] = {}
    for name, value in values.items():
        if name.endswith("_PASSWORD") and len(value) > 3:
            known[value] = "***"
        for word in re.split(r"[\s,]+", value):
            if "://" in word:
                known.update(_secrets_of(word))
    ordered = sorted(known, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in ordered:
            text = text.replace(secret, "***")
        return _QUERY.sub(r"\1***", _CREDENTIAL.sub(r"\1***@", text))

    return mask


def _secrets_of(address: str) -> dict[str, str]:
    """Passwords and what looks like a token in the address of an index or proxy."""
    try:
        parts = urlsplit(
            address.partition("=")[2] if re.match(r"[\w-]+=\w+://", address) else address
        )
        secrets = [parts.password or ""]
        if not parts.password and parts.username:
            secrets.append(parts.username)  # https://TOKEN@host
    except ValueError:
        return {}
    secrets += [piece for piece in parts.path.split("/") if _TOKEN.fullmatch(piece)]
    return {form: "***" for text in secrets for form in {text, unquote(text)} if len(form) > 3}


def _pip_settings(environ: Mapping[str, str], home: str, system: Path) -> dict[str, str]:
    """pip's settings under uv's names: files first (system, person), then variables."""
    places = [system / "pip.conf"]
    if home:
        config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
        places += [Path(home, ".pip/pip.conf"), Path(config, "pip/pip.conf")]
    if environ.get("PIP_CONFIG_FILE"):
        places.append(Path(environ["PIP_CONFIG_FILE"]))
    found: dict[str, str] = {}
    for place in places:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(_text(place))
        except configparser.Error:
            continue  # pip itself will tell its person
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({k.replace("-", "_"): v for k, v in parser.items(section)})
    found.update({k[4:].lower(): v for k, v in environ.items() if k.startswith("PIP_")})
    translated = {}
    for name, value in found.items():
        if name in _PIP and value.strip():
            # pip separates by white space, uv separates find-links by commas
            translated[_PIP[name]] = ("," if name == "find_links" else " ").join(value.split())
    return translated


def _uv_config(environ: Mapping[str, str], home: str, system: Path) -> str:
    if environ.get("UV_CONFIG_FILE"):
        return environ["UV_CONFIG_FILE"]
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    places = [f"{config}/uv/uv.toml"] if config else []
    return next((p for p in [*places, str(system / "uv/uv.toml")] if Path(p).is_file()), "")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
