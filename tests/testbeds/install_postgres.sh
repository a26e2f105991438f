#!/bin/sh
# PostgreSQL 15 from the distribution, without a server that starts by itself. Needs root.
set -eu
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
  echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends postgresql-15 || {
  apt-get update
  apt-get install -y --no-install-recommends postgresql-15
}
