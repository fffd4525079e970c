#!/usr/bin/env python3
"""Losses of the first training steps, coppice against PyTorch: same weights, same batches, same optimizer.

    torch_curve.py --curve PROGRAM --model DIR --data FILE.bin [--device cpu|cuda] [--precision bf16|f32]
                   [--batch N] [--sequence N] [--steps N] [--learning-rate X]

PROGRAM is benchmarks/curve_bench. The model is loaded by transformers and trained in f32 and, for the
noise of the precision alone, once more in bf16 autocast over f32 weights. Prints one JSON line: the largest and
the mean difference of the curves, and the same between PyTorch's own two curves. Exit code 0: the mean
difference to PyTorch at the same precision is within twice PyTorch's own (bf16), or below 1e-3 (f32);
1: it is not; 77: there is no PyTorch or no transformers.
"""

import argparse
import json
import subprocess
import sys

try:
    import numpy
    import torch
    from transformers import AutoModelForCausalLM
except ImportError as reason:
    print(f"skipped: {reason}")
    sys.exit(77)


def batches(args):
    """Windows of T + 1 ids, T apart, in file order, from the start again at the end."""
    side = json.loads(open(args.data.removesuffix(".bin") + ".json", encoding="utf-8").read())
    ids = numpy.fromfile(args.data, dtype=side["dtype"]).astype(numpy.int64)
    windows = (len(ids) - 1) // args.sequence
    for step in range(args.steps):
        rows = []
        for row in range(args.batch):
            start = (step * args.batch + row) % windows * args.sequence
            rows.append(ids[start:start + args.sequence + 1])
        yield torch.from_numpy(numpy.stack(rows)).to(args.device)


def torch_curve(args, is_half):
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32,
                                                 attn_implementation="sdpa").to(args.device)
    model.train()
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1},
                                   {"params": vectors, "weight_decay": 0.0}],
                                  lr=args.learning_rate, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for ids in batches(args):
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=is_half):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1),
                                                 ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return numpy.array(losses)


def coppice_curve(args):
    command = [args.curve, "--model", args.model, "--data", args.data, "--device", args.device,
               "--precision", args.precision, "--batch", str(args.batch), "--sequence",
               str(args.sequence), "--steps", str(args.steps), "--learning-rate",
               str(args.learning_rate)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return numpy.array([json.loads(line)["loss"] for line in lines.splitlines()])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--curve", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["bf16", "f32"], default="f32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sequence", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    args = parser.parse_args()
    ours = coppice_curve(args)
    full = torch_curve(args, False)
    half = torch_curve(args, True)
    peer = half if args.precision == "bf16" else full
    difference = numpy.abs(ours - peer)
    noise = numpy.abs(half - full)
    allowed = 2.0 * noise.mean() if args.precision == "bf16" else 1e-3
    is_fine = bool(numpy.isfinite(ours).all() and difference.mean() <= allowed)
    print(json.dumps({
        "bench": "torch_curve", "device": args.device, "precision": args.precision,
        "steps": args.steps, "first_loss": round(float(ours[0]), 5),
        "last_loss": round(float(ours[-1]), 5), "torch_last_loss": round(float(peer[-1]), 5),
        "mean_difference": float(difference.mean()), "largest_difference": float(difference.max()),
        "torch_noise_mean": float(noise.mean()), "torch_noise_largest": float(noise.max()),
        "allowed_mean": float(allowed), "agrees": is_fine}))
    sys.exit(0 if is_fine else 1)


if __name__ == "__main__":
    main()
