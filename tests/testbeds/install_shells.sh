#!/bin/sh
# zsh and fish from the distribution, for the test of completions. Needs root.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends zsh fish || {
  apt-get update
  apt-get install -y --no-install-recommends zsh fish
}
