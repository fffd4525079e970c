#!/usr/bin/env bash
# Do short probes rank candidates as a long distillation does? Trains a teacher on the given text, searches a
# space of about a hundred candidates through rungs whose last one is a long distillation of the finalists, and
# prints, for each finalist, its rank after every stage, with Kendall's tau-b between each stage and the last.
#
#   scripts/rank-study.sh [-s small|large] [-d DEVICE] [-o DIR] TEXT...
#
#   -s small  a teacher of 2.8M parameters, for a CPU: about an hour on two cores (the default)
#   -s large  a teacher of 121M parameters, for a GPU
#   -d NAME   device of all commands (default: auto)
#   -o DIR    where everything is written (default: rank-study/); an interrupted run continues there
#   TEXT...   files or folders of text to train on: some MB for small, some hundred MB for large
#
# COPPICE=path/to/coppice names the program (default: the release build's).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
size=small
device=auto
out=rank-study
while getopts "s:d:o:h" option; do
    case $option in
    s) size=$OPTARG ;;
    d) device=$OPTARG ;;
    o) out=$OPTARG ;;
    h) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
case $size in
small) training="--sequence 128 --batch 8 --steps 5000 --learning-rate 3e-3 --warmup 100"
       scoring="--samples 256 --sequence 128" ;;
large) training="--sequence 512 --batch 64 --steps 12000 --learning-rate 1e-3 --warmup 500"
       scoring="--samples 1024 --sequence 512" ;;
*) echo "rank-study: -s is $size (allowed: small, large)" >&2; exit 2 ;;
esac
COPPICE=${COPPICE:-$root/build/release/cli/coppice}

mkdir -p "$out"
if [ ! -e "$out/valid.json" ]; then
    [ $# -gt 0 ] || { echo "rank-study: no text (allowed: files or folders)" >&2; exit 2; }
    find "$@" -type f -size -4096k | LC_ALL=C sort >"$out/corpus.txt"
    rm -f "$out"/train.bin "$out"/train.json "$out"/valid.bin
    tr '\n' '\0' <"$out/corpus.txt" | xargs -0 "$COPPICE" tokenize --tokenizer byte \
        -o "$out/train.bin" --held-out 0.05 --held-out-output "$out/valid.bin"
fi
# Each stage leaves its result under its final name only when it is complete.
[ -e "$out/teacher" ] || "$COPPICE" train --device "$device" \
    --arch "$root/configs/models/rank-study-$size.json" --data "$out/train.bin" \
    --validation "$out/valid.bin" -o "$out/teacher" $training --seed 1
[ -e "$out/importance.h5" ] || "$COPPICE" score --device "$device" "$out/teacher" \
    --data "$out/train.bin" -o "$out/importance.h5" $scoring
[ -e "$out/study.yaml" ] || cp "$root/configs/studies/rank-study-$size.yaml" "$out/study.yaml"
"$COPPICE" search --device "$device" "$out/study.yaml" -o "$out/study"
"$COPPICE" report "$out/study"

"$root/scripts/rank-table.awk" "$out/study/candidates.csv"
