#!/usr/bin/env bash
# Everything that needs a GPU, in one call: builds for the device found, runs the GPU tests, compute-sanitizer on
# small runs, the quickstart on the GPU, and the benchmarks; prints one table last, and writes all figures as
# JSON lines. Made to fit ten minutes on one H200 with 16 cores; it needs no network.
#
#   scripts/gpu-check.sh [-o DIR] [-t SECONDS] [-q] [-b DIR]
#
#   -o DIR      where logs, results.jsonl and table.txt go (default: gpu-check/)
#   -t SECONDS  time for all of it (default: 570); what does not fit is called "no time left"
#   -q          quick: tests, sanitizer and the smallest benchmarks only
#   -b DIR      build folder (default: build/gpu)
#
# Beyond the tree it needs: a driver and the CUDA toolkit (nvcc, cuBLASLt, compute-sanitizer; written with 13.0), a C and
# C++ compiler, CMake 3.22, ninja or make, and the libraries of scripts/setup.sh, or the folder or archive
# that scripts/gpu-bundle.sh makes of them (.gpu-deps, .gpu-deps.tar.xz in the repository). Used when found: cuDNN
# with its frontend's headers, NCCL, an MPI; python3 with torch (and transformers) for the comparisons with PyTorch.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

out=gpu-check
limit=570
build=build/gpu
is_quick=
while getopts "o:t:b:qh" option; do
    case $option in
    o) out=$OPTARG ;;
    t) limit=$OPTARG ;;
    b) build=$OPTARG ;;
    q) is_quick=1 ;;
    h) sed -n '2,19s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) exit 2 ;;
    esac
done
started=$(date +%s)
mkdir -p "$out/log"
out=$(cd "$out" && pwd)
results=$out/results.jsonl
rows=$out/rows.txt
: >"$results"
: >"$rows"
failures=0

left() { echo $((limit - $(date +%s) + started)); }
say() { printf 'gpu-check: %s\n' "$*" >&2; }
row() { printf '%s|%s|%s|%s\n' "$@" >>"$rows"; } # item, state, seconds, detail

# item NAME SECONDS COMMAND...: runs a command with a limit, its output in log/NAME.log; lines of JSON in
# it go to the results. Sets `detail` for the row to the last line that is no JSON.
item() {
    local name=$1 seconds=$2 begun rc state
    shift 2
    local file=$out/log/$name.log
    [ "$seconds" -gt "$(left)" ] && seconds=$(left)
    if [ "$seconds" -lt 5 ]; then
        row "$name" "no time left" 0 ""
        return 1
    fi
    say "$name"
    begun=$(date +%s)
    timeout -k 5 "$seconds" "$@" >"$file" 2>&1
    rc=$?
    begun=$(($(date +%s) - begun))
    grep -h '^{.*}$' "$file" >>"$results"
    case $rc in
    0) state=ok ;;
    77) state=skipped ;;
    124 | 137) state="out of time" ;;
    *) state="FAILED ($rc)" ;;
    esac
    [ $rc -eq 0 ] || [ $rc -eq 77 ] || failures=$((failures + 1))
    row "$name" "$state" "$begun" "$(grep -v '^{' "$file" | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c1-90)"
    return $rc
}

# figure CASE KEY...: values of the newest result whose line holds CASE.
figure() {
    local line key
    line=$(grep -F "$1" "$results" | tail -n 1)
    shift
    for key in "$@"; do
        printf '%s ' "$(printf '%s' "$line" | sed -n "s/.*\"$key\": *\"\{0,1\}\([^,\"}]*\).*/\1/p")"
    done
}

finish() {
    local commit device
    commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
    device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1)
    {
        printf 'coppice %s on %s, %s, %d s\n\n' "$commit" "${device:-no device}" \
            "$(date -u +%Y-%m-%d)" "$(($(date +%s) - started))"
        printf '%-34s %-14s %5s  %s\n' item state s detail
        while IFS='|' read -r name state seconds detail; do
            printf '%-34s %-14s %5s  %s\n' "$name" "$state" "$seconds" "$detail"
        done <"$rows"
        printf '\n%-34s %10s %8s %8s %8s %9s\n' "training step" tokens/s TFLOP/s "% peak" "% 989" "peak GiB"
        grep -h '"bench": "step"' "$results" | sed -n \
            's/.*"case": "\([^"]*\)".*"precision": "\([^"]*\)".*"state": "\([^"]*\)".*"tokens_per_second": \([0-9.]*\), "gflops": \([0-9.]*\),.*"percent_of_peak": \([0-9.]*\),.*"percent_of_989_tflops": \([0-9.]*\),.*"peak_bytes": \([0-9]*\).*/\1 \2 \3 \4 \5 \6 \7 \8/p' |
            awk '{ printf "%-34s %10d %8.1f %8.1f %8.1f %9.1f\n", $1 " " $2 " " $3, $4, $5 / 1e3, $6, $7, $8 / 2^30 }'
        grep -h '"bench": "torch_step"' "$results" | sed -n \
            's/.*"case": "\([^"]*\)".*"state": "\([^"]*\)".*"tokens_per_second": \([0-9.]*\), "gflops": \([0-9.]*\).*/\1 \2 \3 \4/p' |
            awk '{ printf "%-34s %10d %8.1f\n", "  PyTorch compiled, " $1 " " $2, $3, $4 / 1e3 }'
        printf '\n%-34s %10s %10s %14s\n' "operator (bf16)" "best ms" "% of limit" limit
        grep -h '"bench":"ops_bench".*"dtype":"bf16"' "$results" | sed -n \
            's/.*"case":"\([^"]*\)","best_ms":\([0-9.]*\),.*"limit":"\([a-z]*\)[^"]*","percent_of_limit":\([0-9.]*\).*/\1 \2 \4 \3/p' |
            awk '{ printf "%-34s %10.3f %10.1f %14s\n", $1, $2, $3, $4 }'
        printf '\n%s\n' "all figures: $results; logs: $out/log/"
    } | tee "$out/table.txt"
    exit "$((failures > 0))"
}
trap finish EXIT

# --- What is there ------------------------------------------------------------------------------

capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
if [ -z "$capability" ]; then
    row device FAILED 0 "nvidia-smi finds no device"
    failures=1
    exit 1
fi
row device ok 0 "$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | head -n 1)"

deps=$root/.gpu-deps
if [ ! -d "$deps" ] && [ -f "$deps.tar.xz" ]; then
    mkdir -p "$deps" && tar -C "$deps" -xJf "$deps.tar.xz"
fi
arguments=(-DCOP_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$capability" -DCMAKE_BUILD_TYPE=Release)
if [ -d "$deps/usr" ]; then
    library=$deps/usr/lib/x86_64-linux-gnu
    export PKG_CONFIG_PATH=$library/pkgconfig PKG_CONFIG_SYSROOT_DIR=$deps
    export LD_LIBRARY_PATH=$library:$library/openblas-openmp:$library/hdf5/serial:${LD_LIBRARY_PATH:-}
    export LIBRARY_PATH=$library:$library/openblas-openmp:$library/hdf5/serial
    arguments+=("-DCMAKE_PREFIX_PATH=$deps/usr" "-DGSL_ROOT_DIR=$deps/usr"
        "-DCOP_OPENBLAS_LIBRARY=$library/openblas-openmp/libopenblas.so"
        "-DCOP_OPENBLAS_INCLUDE_DIR=$deps/usr/include/x86_64-linux-gnu/openblas-openmp"
        "-DCOP_CHART_JS=$deps/usr/share/javascript/chart.js/chart.min.js"
        "-DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,$library")
    [ -d "$deps/cudnn-frontend" ] && arguments+=("-DCOP_CUDNN_FRONTEND_DIR=$deps/cudnn-frontend")
fi
command -v ninja >/dev/null && arguments+=(-G Ninja)

# --- Build and tests ----------------------------------------------------------------------------

item configure 60 cmake -S . -B "$build" "${arguments[@]}" || exit 1
item build 240 cmake --build "$build" --parallel || exit 1
coppice=$(realpath "$build/cli/coppice")
bench=$build/benchmarks
item doctor 30 "$coppice" doctor
# A test skips itself where no backend opens; there is a device here, so that is a failure.
item tests 150 bash -o pipefail -c 'ctest "$@" | awk "{ print } /[(]Skipped[)]/ { n++ }
    END { if (n) { print n \" tests were skipped though there is a device\"; exit 1 } }"' ctest \
    --test-dir "$build" -L gpu --output-on-failure --no-tests=error --timeout 120
row "" "" "" "$(grep -h 'tests passed' "$out/log/tests.log" | tail -n 1)"

if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck initcheck; do
        item "sanitizer-$tool" 45 compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "$build/tests/cuda/cuda_device_step" --small
    done
else
    row sanitizer skipped 0 "no compute-sanitizer on PATH"
fi

# --- The job ------------------------------------------------------------------------------------

text=("$root"/base/*.c "$root"/kernels/cpu/*.c "$root"/model/*.c "$root"/search/*.c "$root"/docs/*.md
    "$root"/tests/base/*.c "$root"/tests/model/*.c "$root"/tests/search/*.c)
quickstart() {
    COPPICE=$coppice "$root/scripts/quickstart.sh" -d cuda -o "$out/quickstart" "${text[@]}"
}
resumed() { # killed half-way and continued gives the same bytes
    local work=$out/resumed options
    rm -rf "$work"
    mkdir -p "$work"
    "$coppice" tokenize --tokenizer byte -o "$work/text.bin" "${text[@]}" >/dev/null
    options="--device cuda --arch configs/models/quickstart-teacher.json --data $work/text.bin
        --sequence 128 --batch 4 --steps 3000 --save-every 200 --seed 3"
    "$coppice" train $options -o "$work/whole" >/dev/null 2>&1 || return 1
    "$coppice" train $options -o "$work/parts" >/dev/null 2>&1 &
    local pid=$!
    sleep 4
    kill -9 $pid 2>/dev/null && wait $pid 2>/dev/null
    "$coppice" train $options -o "$work/parts" >"$work/log" 2>&1 || return 1
    [ -s "$work/whole/model.safetensors" ] && [ -s "$work/parts/model.safetensors" ] || return 1
    cmp <(weights "$work/whole") <(weights "$work/parts") && echo "the same bits"
}
weights() { # what follows the header, which holds the date
    tail -c +$(($(od -An -t u8 -N 8 "$1/model.safetensors") + 9)) "$1/model.safetensors"
}
if [ -z "$is_quick" ]; then
    export -f quickstart resumed weights 2>/dev/null
    export root out coppice
    item job 60 env -C "$out" "$root/tests/cuda/job.sh" "$coppice"
    item quickstart 100 bash -c "$(declare -p text); quickstart"
    item resumed 40 bash -c "$(declare -p text); resumed"
fi

# --- Benchmarks ---------------------------------------------------------------------------------

item ops 60 "$bench/ops_bench" --device cuda ${is_quick:+--quick}
if [ -z "$is_quick" ]; then
    for case in 8b 0.5b 1b 0.1b 4b; do
        batch=2
        state=compact
        memory=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits | head -n 1)
        [ "$case" = 8b ] && [ "$memory" -lt 100000 ] && state=lean batch=1
        item "step-$case" 60 "$bench/step_bench" --device cuda --case "$case" --batch "$batch" \
            --sequence 4096 --state "$state" --recompute selective --steps 5
    done
    item profile-8b 60 "$bench/step_bench" --device cuda --case 8b --batch 1 --sequence 4096 \
        --state lean --recompute selective --steps 2 --profile
    item resident-15b 40 "$bench/resident_bench" --device cuda --shape 15b --form working
    item importance-15b 60 "$bench/importance_bench" --device cuda \
        --config configs/models/nemotron-4-15b.json --batch 1 --sequence 4096 --samples 8 --repeats 1
    if python3 -c 'import torch' 2>/dev/null; then
        item torch-8b 90 python3 benchmarks/peer/torch_step.py --device cuda --compile --state lean \
            --case 8b --batch 2 --sequence 4096 --steps 5
        item torch-0.5b 60 python3 benchmarks/peer/torch_step.py --device cuda --compile --case 0.5b \
            --batch 2 --sequence 4096 --steps 5
        if [ -d "$out/quickstart/teacher" ]; then
            for precision in f32 bf16; do
                item "torch-curve-$precision" 40 python3 benchmarks/peer/torch_curve.py \
                    --curve "$bench/curve_bench" --model "$out/quickstart/teacher" \
                    --data "$out/quickstart/train.bin" --device cuda --precision $precision
            done
        fi
    else
        row torch skipped 0 "no PyTorch for python3"
    fi
fi
