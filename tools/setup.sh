#!/usr/bin/env bash
# Makes .venv exactly what requirements/dev.txt says, and does nothing when it already is.
#
# Called by `make setup`, and through it by every other target. Needs a Python >= 3.11 with venv; everything else
# comes by hash. Safe to run twice at once (one waits), in a path with spaces, and without network when current.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
venv="$root/.venv"
stamp="$venv/.current"

# What .venv was made from; of pyproject.toml only what packaging reads. The place belongs to it,
# because scripts in a virtual environment carry their absolute path.
wanted() {
  {
    printf '%s\n' "$root"
    sed '/^\[tool\.ruff\]/,$d' pyproject.toml
    cat requirements/*.txt tools/setup.sh
  } | sha256sum | cut -d' ' -f1
}
is_current() { [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(wanted)" ] && "$venv/bin/python" -c ''; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.11 python3.12 python3.13 /usr/bin/python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-3].*/bin/python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  echo "setup: no Python >= 3.11 with venv found" >&2
  echo "hint: install one (Debian 12: apt-get install python3 python3-venv) or set PYTHON=/path/to/python3" >&2
  return 1
}

# uv does not read pip's settings; a machine that has an index or wheels of its own has told pip about them
follow_pip_settings() {
  local index links
  index=$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)
  index=${PIP_INDEX_URL:-$index}
  links=$("$venv/bin/python" -m pip config get global.find-links 2>/dev/null || true)
  links=${PIP_FIND_LINKS:-$links}
  if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$index"; fi
  if [ -n "$links" ] && [ -z "${UV_FIND_LINKS:-}" ]; then export UV_FIND_LINKS="${links//[[:space:]]/,}"; fi
  if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE="$PIP_CERT"; fi
}

if is_current; then exit 0; fi
exec 9<"$root"
flock 9
if is_current; then exit 0; fi

if ! "$venv/bin/python" -c '' 2>/dev/null || ! grep -qxF "$root" "$venv/.place" 2>/dev/null; then
  python=$(find_python)
  "$python" -m venv --clear "$venv"
  printf '%s\n' "$root" >"$venv/.place"
fi
rm -f "$stamp"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
follow_pip_settings
uv() { "$venv/bin/uv" --no-config "$@"; }
uv pip install --quiet --python "$venv/bin/python" --require-hashes -r requirements/dev.txt
uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --offline --editable .
# bytecode now, or the first `zenkei` of every user pays for it with seconds
"$venv/bin/python" -m compileall -q -j 0 "$venv/lib" src >/dev/null || true
wanted >"$stamp"
