#!/usr/bin/env bash
# Collects the libraries that building needs, for a GPU machine without a package registry: downloads the
# Debian packages of scripts/setup.sh, with what they depend on, and unpacks them into one folder.
# scripts/gpu-check.sh builds against that folder, or the archive of it beside it, when one is there.
#
#   scripts/gpu-bundle.sh [-o DIR]     DIR: where the folder is made (default: .gpu-deps in the repository)
#
# Run it on Debian or Ubuntu with network, as any user. Not in the bundle, and to be on the GPU machine: the driver,
# the CUDA toolkit (nvcc, cuBLASLt), a C and C++ compiler, CMake, ninja, make or both; cuDNN, NCCL and an MPI where
# wanted. With python3 and pip here, the headers of cuDNN's frontend are added too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=.gpu-deps
while getopts "o:h" option; do
    case $option in
    o) out=$OPTARG ;;
    h) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) exit 2 ;;
    esac
done

packages=(
    libopenblas-openmp-dev libgsl-dev libhdf5-dev libjansson-dev libyaml-dev libxxhash-dev
    libsqlite3-dev libcmocka-dev libdnnl-dev libjs-chart.js
)
# What every system has, and what would clash with its own.
skipped='^(libc6|libc6-dev|libgcc-s1|libstdc\+\+6|libgomp1|linux-libc-dev|gcc.*|cpp.*|g\+\+.*|binutils.*|perl.*|python3.*|debconf|dpkg|tar|sed|install-info|ucf|openssl|ca-certificates|node.*|javascript-common)$'

mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Packages that are installed are closures of apt too: ask for the whole tree, not for what is missing.
mapfile -t wanted < <(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "${packages[@]}" | grep -E '^[a-z0-9]' | sort -u | grep -vE "$skipped")
for package in "${wanted[@]}"; do
    # Virtual packages have no file.
    (cd "$work" && apt-get download -q "$package" >/dev/null 2>&1) || true
done
count=0
for file in "$work"/*.deb; do
    dpkg -x "$file" "$out"
    count=$((count + 1))
done
if command -v python3 >/dev/null; then
    python3 -m pip download -q --no-deps -d "$work/wheel" nvidia-cudnn-frontend 2>/dev/null &&
        (cd "$work/wheel" && python3 -m zipfile -e ./*.whl unpacked &&
            mkdir -p "$out/cudnn-frontend" &&
            cp -r unpacked/include "$out/cudnn-frontend/") || true
fi
rm -rf "$out/etc" "$out/var" "$out/usr/share/doc" "$out/usr/share/man" "$out/usr/share/locale"
find "$out" -name '*.a' -delete # the build links shared libraries
tar -C "$out" -cJf "$out.tar.xz" .
printf 'gpu-bundle: %d packages in %s (%s)\n' "$count" "$out" "$(du -sh "$out" | cut -f1)" >&2
printf 'gpu-bundle: to carry: %s (%s)\n' "$out.tar.xz" "$(du -sh "$out.tar.xz" | cut -f1)" >&2
