#!/usr/bin/env bash
# The main job on real input: `make demo`. Trains on two nodes with two ranks each, shows the record,
# and a job that cannot fit with its reason. Everything lives in a home of its own, unless
# ZENKEI_HOME says otherwise; what it starts, it stops.
set -euo pipefail
cd "$(dirname "$0")"
PATH="$(cd ../.venv/bin && pwd):$PATH"

own_home=
if [ -z "${ZENKEI_HOME:-}" ]; then
  ZENKEI_HOME="$(mktemp -d "${TMPDIR:-/tmp}/zenkei-demo.XXXXXX")"
  own_home=1
fi
export ZENKEI_HOME
finish() {
  zenkei down --jobs --yes >/dev/null 2>&1 || true
  if [ -n "$own_home" ]; then rm -rf "$ZENKEI_HOME"; fi
}
trap finish EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. Four virtual nodes with 2 GPUs each on this machine (declared sizes, for trying things out)"
zenkei up --nodes 4 --gpus-per-node 2 --cpus-per-node 2 --memory-per-node 4GiB
zenkei nodes

say "2. A data-parallel training: 2 nodes x 2 MPI ranks, all or none (examples/digits/job.yaml)"
zenkei run -f digits/job.yaml

say "3. What it left: the result, and the record that is enough to run it again"
zenkei result fetch - "$ZENKEI_HOME/demo-result"
cat "$ZENKEI_HOME/demo-result/summary.json"
echo
zenkei show -

say "4. A job that cannot fit, with the reason and the nearest request that can"
zenkei run --detach --name too-large --gpus 16 -- true
zenkei explain - || true
zenkei cancel -
