#!/bin/sh
# libfaketime from the distribution. Needs root.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends faketime || {
  apt-get update
  apt-get install -y --no-install-recommends faketime
}
