#!/usr/bin/env bash
# Everything from a fresh checkout to all tests passed: installs missing packages, builds with all
# warnings as errors, runs the tests under AddressSanitizer and UndefinedBehaviorSanitizer, then as
# a release. The last lines are ctest's.
# Usage: scripts/test.sh [--quick]     --quick: the release only
# Folders: $COP_BUILD_DIR, or build/ in the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build_dir=${COP_BUILD_DIR:-$PWD/build}
jobs=${COP_JOBS:-$(nproc)}
say() { printf 'test: %s\n' "$*"; }

# Settings of the calling shell that would change what is tested.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

scripts/setup.sh

build() { # preset
    say "$1: configure and build in $build_dir/$1"
    cmake --preset "$1" -B "$build_dir/$1" --log-level=WARNING >/dev/null
    cmake --build "$build_dir/$1" --parallel "$jobs" -- --quiet
}

run() { # preset, ctest arguments
    local preset=$1
    shift
    say "$preset: ctest"
    ctest --test-dir "$build_dir/$preset" --output-on-failure --no-tests=error -j "$jobs" "$@"
}

build release
if [ "${1:-}" != --quick ]; then
    build asan
    # Leaks are an error in our code; what libraries keep until the end is not ours.
    ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 \
        LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp:print_suppressions=0" \
        UBSAN_OPTIONS=print_stacktrace=1 \
        run asan
fi
run release
