#!/usr/bin/env bash
# Installs what building and testing coppice needs, on Debian and Ubuntu: only the packages that
# are missing. Without anything missing it needs neither network nor rights.
# Usage: scripts/setup.sh [--check]     --check: say what is missing, install nothing
set -euo pipefail

required=(
    gcc g++ cmake ninja-build pkg-config git ca-certificates
    libopenblas-openmp-dev libgsl-dev libhdf5-dev libjansson-dev libyaml-dev libxxhash-dev
    libsqlite3-dev libcmocka-dev
)
# Used when present, and worth having: faster matrix products, interactive charts, several processes
# (one GPU each).
optional=(libdnnl-dev libjs-chart.js libopenmpi-dev openmpi-bin)
# Only where tests are run for others: a Slurm that a test starts for itself (tests/slurm).
if [ "${CI:-}" = true ]; then
    optional+=(slurm-wlm munge)
fi

say() { printf 'setup: %s\n' "$*" >&2; }

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null | cut -c1-2)" = ii ]
}

missing() {
    local package
    for package in "$@"; do
        is_installed "$package" || printf '%s\n' "$package"
    done
}

if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian or Ubuntu; please install the equivalents of: ${required[*]} ${optional[*]}"
    exit 0
fi

mapfile -t wanted < <(missing "${required[@]}")
mapfile -t extra < <(missing "${optional[@]}")
if [ "${#wanted[@]}" -eq 0 ] && [ "${#extra[@]}" -eq 0 ]; then
    say "all packages are there"
    exit 0
fi
say "missing packages: ${wanted[*]} ${extra[*]}"
if [ "${1:-}" = --check ]; then
    [ "${#wanted[@]}" -eq 0 ]
    exit
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        say "not root and no sudo: run as root: apt-get install ${wanted[*]} ${extra[*]}"
        [ "${#wanted[@]}" -eq 0 ]
        exit
    fi
    as_root=(sudo)
fi

export DEBIAN_FRONTEND=noninteractive
install() {
    say "apt-get install --no-install-recommends $*"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "$@" >&2
}
say "apt-get update"
"${as_root[@]}" apt-get update -q >&2 || say "apt-get update failed; trying with the lists at hand"
if [ "${#wanted[@]}" -gt 0 ]; then
    install "${wanted[@]}"
fi
for package in "${extra[@]}"; do
    install "$package" || say "$package cannot be installed; going on without it"
done
