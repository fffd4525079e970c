#!/usr/bin/env bash
# The whole job with --device cuda: corpus, teacher, importance, search, report, pick, distillation. Run with a program
# that holds the host build of the CUDA backend, or on a GPU with the program itself.
#
#   tests/cuda/job.sh COPPICE [host]
#
# Checks what must hold on any device: losses as on the CPU, and the same bits when a run is repeated (on the
# host in another order of threads).
set -euo pipefail
coppice=$1
kind=${2:-device}
# The folder that the test runs in.
rm -rf job && mkdir job && cd job
fail() { echo "job.sh: $*" >&2; exit 1; }
loss_of() { sed -n "s/.*\"$2\": *{[^}]*\"value\": *\([-0-9.e]*\).*/\1/p" "$1" | head -n 1; }
# value VALUE WANTED TOLERANCE, relative
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; d = d < 0 ? -d : d; exit !(d <= t * b) }'; }

for i in $(seq 1 300); do
    echo "line $((i * 7919 % 1000)) of a text that repeats itself: $((i % 7)) $((i % 11)) $((i % 13))"
done >text.txt
"$coppice" tokenize text.txt --tokenizer byte -o train.bin --held-out 0.1 --held-out-output valid.bin >/dev/null
cat >arch.json <<'JSON'
{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 256, "hidden_size": 32,
 "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
 "intermediate_size": 48, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
 "hidden_act": "silu", "max_position_embeddings": 64, "attention_bias": false, "mlp_bias": false}
JSON

train() { # device, output, options
    local device=$1 out=$2
    shift 2
    "$coppice" train --device "$device" --arch arch.json --data train.bin -o "$out" --sequence 24 \
        --batch 2 --steps 8 --learning-rate 3e-3 --warmup 2 --seed 1 --json "$@" >"$out.json" 2>"$out.log" ||
        { cat "$out.log" >&2; fail "train on $device"; }
}
# What follows the header, which holds the date.
weights() { tail -c +$(($(od -An -t u8 -N 8 "$1/model.safetensors") + 9)) "$1/model.safetensors"; }
same() {
    [ -s "$1/model.safetensors" ] && [ -s "$2/model.safetensors" ] || fail "$1 or $2 has no weights"
    cmp -s <(weights "$1") <(weights "$2") || fail "the weights of $1 and $2 differ"
}

echo "training, f32 and bf16, in every form of state"
for precision in f32 bf16; do
    train cpu "cpu-$precision" --precision "$precision"
    train cuda "cuda-$precision" --precision "$precision"
    a=$(sed -n 's/.*"loss": *\([0-9.]*\).*/\1/p' "cuda-$precision.json" | head -n 1)
    b=$(sed -n 's/.*"loss": *\([0-9.]*\).*/\1/p' "cpu-$precision.json" | head -n 1)
    [ -n "$a" ] && [ -n "$b" ] || fail "no loss in the result"
    near "$a" "$b" 0.02 || fail "$precision: loss $a on cuda, $b on the CPU"
done
train cuda cuda-lean --precision bf16 --state lean
train cuda cuda-frozen --precision bf16 --state compact --freeze-vocabulary

echo "repeated: the same bits"
[ "$kind" = host ] && export COP_CUDA_ORDER=reverse
train cuda again-bf16 --precision bf16
same cuda-bf16 again-bf16
train cuda again-lean --precision bf16 --state lean
same cuda-lean again-lean
unset COP_CUDA_ORDER

teacher=cuda-f32
echo "importance, search, report, pick"
cat >study.yaml <<YAML
teacher: $teacher
data: {train: train.bin, validation: valid.bin, validation_sequences: 8, calibration: {samples: 6, sequence: 24}}
space: {layers: [2, 3], hidden: [24, 32], ffn: [32, 48]}
objectives: [loss, params]
search: {strategy: grid, seed: 1}
probe: {sequence: 24, rungs: [192, 384], keep: 0.4, keep_pruned: 4, batch_tokens: 96, learning_rate: 1e-3, precision: f32}
YAML
for device in cpu cuda; do
    "$coppice" search --device $device study.yaml -o "study-$device" >/dev/null 2>"search-$device.log" ||
        { tail -n 5 "search-$device.log" >&2; fail "search on $device"; }
    "$coppice" report "study-$device" >/dev/null 2>&1
done
# Stage 0, the pruned models: the same losses but for rounding.
awk -F, 'NR == FNR { if (FNR > 1) { want[$1, $2] = $0 } next }
    FNR == 1 { for (i = 1; i <= NF; i++) if ($i == "loss") at = i; next }
    $2 == 0 { split(want[$1, $2], w, ","); d = $at - w[at]; n++
              if ((d < 0 ? -d : d) > 1e-3 * w[at] + 1e-5) { print $1, $at, w[at]; bad = 1 } }
    END { exit bad || n == 0 }' study-cpu/candidates.csv study-cuda/candidates.csv ||
    fail "pruned losses differ from the CPU's"
"$coppice" pick study-cuda -o pick >/dev/null 2>&1

echo "distillation: states, samples"
distill() { # output, options
    local out=$1
    shift
    "$coppice" distill --device cuda --teacher "$teacher" --student pick --data train.bin -o "$out" \
        --sequence 24 --batch 2 --steps 6 --learning-rate 1e-3 --seed 2 "$@" >"$out.log" 2>&1 ||
        { tail -n 5 "$out.log" >&2; fail "distill to $out"; }
}
distill distilled
distill sampled --targets samples --draws 16
"$coppice" eval pick distilled sampled --device cuda --data valid.bin --teacher "$teacher" --sequence 24 \
    --sequences 8 >eval.txt 2>eval.log || { tail -n 5 eval.log >&2; fail eval; }
cat eval.txt
