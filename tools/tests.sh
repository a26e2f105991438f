#!/usr/bin/env bash
# Runs the tests in groups and closes with one line for each group and one exit code.
#
# Called by `make quick`, `make test` and `make soak`. A group whose folders do not exist is left
# out; a group that collects nothing is no failure unless every group did. `make check` goes first,
# except before the soak. Two workers, since the machine that counts has two cores:
# ZENKEI_TEST_WORKERS says otherwise, PYTEST_ARGS adds arguments.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
workers=${ZENKEI_TEST_WORKERS:-2}
pure="tests/unit tests/property tests/table tests/architecture tests/simulation tests/mutants"

case "${1:-}" in
  quick) groups=("not slow and not postgres:$pure"); export ZENKEI_TEST_QUICK=1 ;;
  all) groups=("not slow:$pure" "not slow:tests/conformance" "not slow:tests/system tests/docs") ;;
  soak) groups=("slow:tests") ;;
  *) echo "usage: tests.sh quick|all|soak" >&2; exit 2 ;;
esac

failed=0
ran=0
closing=()
if [ "$1" != soak ]; then
  # style does not hide what the tests have to say
  make --no-print-directory check
  rc=$?
  closing+=("exit $rc  make check")
  if [ "$rc" -ne 0 ]; then failed=1; fi
fi
for group in "${groups[@]}"; do
  marks=${group%%:*}
  folders=()
  for folder in ${group#*:}; do
    if [ -d "$folder" ]; then folders+=("$folder"); fi
  done
  [ ${#folders[@]} -gt 0 ] || continue
  out=$(mktemp)
  # shellcheck disable=SC2086  # PYTEST_ARGS holds words
  .venv/bin/python -m pytest -n "$workers" --dist loadfile -m "$marks" "${folders[@]}" ${PYTEST_ARGS:-} \
    </dev/null 2>&1 | tee "$out"
  rc=${PIPESTATUS[0]}
  closing+=("$(printf 'exit %d  %s: %s' "$rc" "${folders[*]}" "$(tail -n 1 "$out")")")
  rm -f "$out"
  if [ "$rc" -ne 5 ]; then ran=1; fi
  if [ "$rc" -ne 0 ] && [ "$rc" -ne 5 ]; then failed=1; fi
done

printf '\n'
if [ ${#closing[@]} -gt 0 ]; then printf '%s\n' "${closing[@]}"; fi
if [ "$ran" -eq 0 ]; then
  echo "tests: nothing ran" >&2
  exit 5
fi
exit "$failed"
