#!/usr/bin/env bash
# The main job, end to end, on this machine: corpus, teacher, importance, search, report, pick,
# distillation, and a closing table against the same architecture trained from scratch.
#
#   scripts/quickstart.sh [-o DIR] [-d DEVICE] [TEXT...]
#
#   -o DIR    where everything is written (default: quickstart/); an interrupted run continues there
#   -d DEVICE auto (default: a GPU that works, else the CPU), cpu, cuda, cuda:N or reference
#   TEXT...   files to train on (default: headers and licences that every building machine has)
#
# COPPICE=path/to/coppice uses a program that is built already, and installs and builds nothing.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=quickstart
device=auto
while getopts "o:d:h" option; do
    case $option in
    o) out=$OPTARG ;;
    d) device=$OPTARG ;;
    h) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

step() { printf '\n== %s\n' "$*" >&2; }

if [ -z "${COPPICE:-}" ]; then
    step "Setting up: packages and build"
    "$root/scripts/setup.sh"
    cmake -S "$root" -B "$root/build/release" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCOP_TESTS=OFF -DCOP_BENCHMARKS=OFF >"$root/build-release.log" 2>&1 &&
        cmake --build "$root/build/release" --target coppice >>"$root/build-release.log" 2>&1 || {
        tail -n 40 "$root/build-release.log" >&2
        echo "quickstart: the build failed; the whole log is in $root/build-release.log" >&2
        exit 1
    }
    rm -f "$root/build-release.log"
    COPPICE=$root/build/release/cli/coppice
fi
started=$(date +%s)

mkdir -p "$out"
exec 9>"$out/.lock"
flock -n 9 || { echo "quickstart: $out is in use by another run" >&2; exit 1; }

# Every stage leaves its result under its final name only when it is complete, so a stage whose
# result is there is not run again.
step "Corpus"
if [ ! -e "$out/valid.json" ]; then
    if [ $# -gt 0 ]; then
        printf '%s\n' "$@" >"$out/corpus.txt"
    else
        # Sorted by name: the same packages give the same corpus.
        for place in /usr/share/common-licenses /usr/include/gsl /usr/include/hdf5/serial \
            /usr/include/oneapi /usr/include/x86_64-linux-gnu/openblas-openmp /usr/include/asm-generic \
            /usr/include/linux /usr/include/jansson.h /usr/include/sqlite3.h /usr/include/yaml.h \
            /usr/include/pcre2.h /usr/include/xxhash.h /usr/include/stdio.h /usr/include/math.h; do
            [ -e "$place" ] && find "$place" -type f -size -400k
        done | LC_ALL=C sort >"$out/corpus.txt"
    fi
    rm -f "$out"/train.bin "$out"/train.json "$out"/valid.bin
    tr '\n' '\0' <"$out/corpus.txt" | xargs -0 "$COPPICE" tokenize --tokenizer byte \
        -o "$out/train.bin" --held-out 0.05 --held-out-output "$out/valid.bin"
fi

step "Teacher: trained from scratch"
if [ ! -e "$out/teacher" ]; then
    "$COPPICE" train --device "$device" --arch "$root/configs/models/quickstart-teacher.json" \
        --data "$out/train.bin" --validation "$out/valid.bin" -o "$out/teacher" \
        --sequence 128 --batch 4 --steps 2400 --learning-rate 3e-3 --warmup 60 --seed 1
fi

step "Importance of every layer, head, channel and neuron"
importance=$out/importance.h5
[ -e "$importance" ] || "$COPPICE" score --device "$device" "$out/teacher" \
    --data "$out/train.bin" -o "$importance" --samples 128 --sequence 128

step "Search: pruning, probes in rungs, ranking"
if [ ! -e "$out/study.yaml" ]; then
    cp "$root/configs/studies/quickstart.yaml" "$out/study.yaml"
fi
"$COPPICE" plan --device "$device" "$out/study.yaml"
"$COPPICE" search --device "$device" "$out/study.yaml" -o "$out/study"
"$COPPICE" report "$out/study"

step "Pick"
if [ ! -e "$out/pick" ]; then
    "$COPPICE" pick "$out/study" -o "$out/pick"
fi

# The control: the pick's architecture cut by random and by reversed importance.
shape=$("$COPPICE" inspect "$out/pick" --json |
    sed -n 's/^ *"\(layers\|hidden\|heads\|kv_heads\|ffn\)": *\([0-9]*\).*/\1=\2/p' | paste -sd, -)
for order in random reversed; do
    [ -e "$out/pick-$order" ] || "$COPPICE" prune "$out/teacher" --importance "$importance" \
        --to "$shape" --order "$order" --seed 1 -o "$out/pick-$order"
done

# The same tokens in the same order for both: what differs is the start and the teacher.
training="--sequence 128 --batch 4 --steps 500 --warmup 30 --seed 2"
step "Distilling the pick"
[ -e "$out/distilled" ] || "$COPPICE" distill --device "$device" \
    --teacher "$out/teacher" --student "$out/pick" --data "$out/train.bin" \
    -o "$out/distilled" $training --learning-rate 1e-3
step "The same architecture from scratch, on the same tokens"
[ -e "$out/scratch" ] || "$COPPICE" train --device "$device" --arch "$out/pick/config.json" \
    --data "$out/train.bin" -o "$out/scratch" $training --learning-rate 3e-3

step "Result, on held-out text"
"$COPPICE" eval --device "$device" "$out/teacher" "$out/pick-reversed" "$out/pick-random" \
    "$out/pick" "$out/scratch" "$out/distilled" --data "$out/valid.bin" \
    --teacher "$out/teacher" --sequence 128 --sequences 128
printf '\nReport: %s/study/report.html   (took %d s)\n' "$out" $(($(date +%s) - started))
