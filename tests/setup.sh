#!/usr/bin/env bash
# Installs what demo and tests need, by apt, and only what is missing. Words: servers browser node peers pools exporters fuzz kafka.
set -euo pipefail

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
wanted=()
need() { # file-or-command package
  if [ -e "$1" ] || command -v "$1" >/dev/null 2>&1; then return; fi
  wanted+=("$2")
}
for word in "$@"; do
  case "$word" in
    servers)
      compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || wanted+=(postgresql)
      compgen -G '/usr/share/postgresql/*/extension/pg_stat_statements.control' >/dev/null || wanted+=(postgresql-contrib)
      if ! [ -x /usr/sbin/mariadbd ]; then wanted+=(mariadb-server); fi ;;
    browser)
      need chromium chromium
      [ -d /usr/share/fonts/opentype/noto ] || wanted+=(fonts-noto-cjk) ;;
    node)
      if ! command -v node >/dev/null 2>&1 || [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 18 ]; then wanted+=(nodejs); fi
      need npm npm ;;
    peers)
      need promtool prometheus
      need prometheus-node-exporter prometheus-node-exporter
      need victoria-metrics victoria-metrics
      need amtool prometheus-alertmanager
      need python3 python3
      python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || wanted+=(python3-venv) ;;
    pools)
      need /usr/sbin/pgbouncer pgbouncer
      need /usr/lib/galera/libgalera_smm.so galera-4
      need rsync rsync ;;
    exporters)
      need prometheus-postgres-exporter prometheus-postgres-exporter
      need prometheus-mysqld-exporter prometheus-mysqld-exporter
      need prometheus-node-exporter prometheus-node-exporter ;;
    fuzz)
      need g++ g++ ;;
    kafka)
      need openssl openssl
      need java default-jre-headless
      need mvn maven ;;
    *) echo "setup.sh: unknown word '$word'; allowed: servers browser node peers pools exporters fuzz kafka" >&2; exit 2 ;;
  esac
done
if [ "${#wanted[@]}" -gt 0 ]; then
  echo "installing by apt: ${wanted[*]}"
  $sudo apt-get update -qq
  # the servers are started privately by us; the packages' own services stay off
  printf '#!/bin/sh\nexit 101\n' | $sudo tee /usr/sbin/policy-rc.d >/dev/null
  $sudo chmod +x /usr/sbin/policy-rc.d
  trap '$sudo rm -f /usr/sbin/policy-rc.d' EXIT
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
fi
