#!/usr/bin/env bash
# Runs one fuzz target for some seconds, from its seeds; what it finds stays in the build folder.
# Usage: scripts/fuzz_one.sh BUILD_DIR NAME_fuzz SECONDS
set -euo pipefail
build_dir=$1 name=$2 seconds=$3
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
found="$build_dir/found/$name"
mkdir -p "$found"
log="$found/log"
if "$build_dir/fuzz/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 \
    -print_final_stats=1 -artifact_prefix="$found/" "$found" \
    "$source_dir/tests/fuzz/corpus/${name%_fuzz}" >"$log" 2>&1; then
    printf 'fuzz: %s: %s inputs, nothing found\n' "$name" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
else
    printf 'fuzz: %s FAILED:\n' "$name" >&2
    tail -n 60 "$log" >&2
    exit 1
fi
