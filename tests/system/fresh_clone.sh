#!/usr/bin/env bash
# `tests/system/fresh_clone.sh [TARGET ...]`: clones what is committed into an empty folder, with an
# empty HOME and a bare environment, and makes the targets there (default: demo test). The frameworks
# that tests train with are built anew below that HOME (10 GB, minutes), unless ZENKEI_TEST_CACHE
# says where they are.
set -euo pipefail
source="$(cd "$(dirname "$0")/../.." && pwd)"
place="$(mktemp -d "${TMPDIR:-/tmp}/zenkei-fresh.XXXXXX")"
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"  # some tests are run as another user
git clone -q "$source" "$place/a clone"
mkdir "$place/home"
# What says where packages come from belongs to the machine, not to the person: it is passed on, and
# how the tests are to be run.
kept=()
while IFS='=' read -r name _; do
  case "$name" in
    PIP_* | UV_* | SSL_CERT_* | *_proxy | *_PROXY | CI | TMPDIR | PYENV_ROOT) kept+=("$name=${!name}") ;;
    ZENKEI_TEST_* | PYTEST_ARGS) kept+=("$name=${!name}") ;;
  esac
done < <(env)
cd "$place/a clone"
if [ $# -eq 0 ]; then set -- demo test; fi
for target in "$@"; do
  env -i HOME="$place/home" PATH="$PATH" LANG=C.UTF-8 "${kept[@]}" make "$target" </dev/null
done
