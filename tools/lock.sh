#!/usr/bin/env bash
# Regenerates requirements/*.txt from pyproject.toml: every version pinned, every file by hash, no registry named.
#
# Called by `make lock`, after a change of dependencies. Keeps the versions already pinned unless told
# `UPGRADE=--upgrade make lock` (or `UPGRADE="--upgrade-package NAME"`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=${UV:-.venv/bin/uv}
compile() {
  # shellcheck disable=SC2086  # UPGRADE holds words
  "$uv" --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --custom-compile-command "make lock" ${UPGRADE:-} "$@" >/dev/null
}
compile pyproject.toml --group dev --output-file requirements/dev.txt
compile pyproject.toml --constraints requirements/dev.txt --no-annotate --output-file requirements/runtime.txt
compile - --constraints requirements/dev.txt --no-annotate --output-file requirements/bootstrap.txt <<<"uv"
