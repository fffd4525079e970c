#!/usr/bin/env python3
"""The training step of benchmarks/step_bench.c in PyTorch: same shapes, same precision, same loss.

    torch_step.py [--case NAME] [--batch N] [--sequence N] [--steps N] [--threads N] [--compile]
                  [--precision bf16|f32] [--clock wall|cpu]

bf16 is torch.autocast over f32 parameters, as usual. Prints one JSON line per case. `--clock cpu` divides
the process' CPU time by the threads: what a shared machine would have taken without its other guests.
"""

import argparse
import json
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

# name: hidden, layers, heads, kv_heads, ffn, vocab, teacher_hidden (as in step_bench.c)
CASES = {
    "1m-v256": (128, 6, 2, 2, 384, 256, 256),
    "10m-v256": (320, 8, 5, 5, 896, 256, 640),
    "30m-v256": (512, 10, 8, 2, 1408, 256, 1024),
    "30m-v32k": (384, 8, 6, 2, 1024, 32000, 768),
    "100m-v32k": (768, 12, 12, 4, 2048, 32000, 1536),
}
HEAD_DIM = 64
HEAD_CHUNK = 1024  # tokens whose logits exist at a time in the forward pass of the loss


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Block(nn.Module):
    def __init__(self, hidden, heads, kv_heads, ffn):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.input_norm = nn.RMSNorm(hidden, eps=1e-5)
        self.qkv = nn.Linear(hidden, (heads + 2 * kv_heads) * HEAD_DIM, bias=False)
        self.o = nn.Linear(heads * HEAD_DIM, hidden, bias=False)
        self.post_norm = nn.RMSNorm(hidden, eps=1e-5)
        self.gate_up = nn.Linear(hidden, 2 * ffn, bias=False)
        self.down = nn.Linear(ffn, hidden, bias=False)

    def forward(self, x, cos, sin):
        batch, sequence, _ = x.shape
        qkv = self.qkv(self.input_norm(x)).view(batch, sequence, -1, HEAD_DIM).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        o = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v,
                                           is_causal=True, enable_gqa=self.heads != self.kv_heads)
        x = x + self.o(o.transpose(1, 2).reshape(batch, sequence, -1))
        gate, up = self.gate_up(self.post_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, hidden, layers, heads, kv_heads, ffn, vocab):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.blocks = nn.ModuleList(Block(hidden, heads, kv_heads, ffn) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden, eps=1e-5)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids, cos, sin, teacher_hidden, teacher_head):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        hidden = self.norm(x).flatten(0, 1)
        loss = 0.0
        for start in range(0, hidden.shape[0], HEAD_CHUNK):
            part = slice(start, start + HEAD_CHUNK)
            student = F.log_softmax(F.linear(hidden[part], self.embedding.weight).float(), dim=-1)
            with torch.no_grad():
                teacher = F.log_softmax(F.linear(teacher_hidden[part], teacher_head).float(),
                                        dim=-1)
            loss = loss + F.kl_div(student, teacher, reduction="sum", log_target=True)
        return loss / hidden.shape[0]


def train_flops(case, sequence):
    hidden, layers, heads, kv_heads, ffn, vocab, _ = case
    matmul = layers * (hidden * (2 * heads + 2 * kv_heads) * HEAD_DIM + 3 * hidden * ffn)
    return 6 * (matmul + vocab * hidden) + 6 * sequence * layers * heads * HEAD_DIM


def run(name, args):
    case = CASES[name]
    hidden, layers, heads, kv_heads, ffn, vocab, teacher_width = case
    torch.manual_seed(1)
    is_bf16 = args.precision == "bf16"
    dtype = torch.bfloat16 if is_bf16 else torch.float32
    model = Model(hidden, layers, heads, kv_heads, ffn, vocab)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95),
                                  weight_decay=0.1, fused=True)
    step_model = torch.compile(model) if args.compile else model
    tokens = args.batch * args.sequence
    ids = torch.randint(0, vocab, (args.batch, args.sequence))
    teacher_hidden = torch.randn(tokens, teacher_width).to(dtype)
    teacher_head = (0.05 * torch.randn(vocab, teacher_width)).to(dtype)
    angles = torch.outer(torch.arange(args.sequence),
                         10000.0 ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16):
            loss = step_model(ids, cos, sin, teacher_hidden, teacher_head)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    clock = time.perf_counter if args.clock == "wall" else (
        lambda: time.process_time() / args.threads)
    step()
    step()
    seconds = []
    for _ in range(args.steps):
        start = clock()
        step()
        seconds.append(clock() - start)
    seconds.sort()
    best, median = seconds[0], seconds[len(seconds) // 2]
    flops = tokens * train_flops(case, args.sequence)
    print(json.dumps({
        "bench": "torch_step", "case": name, "torch": torch.__version__, "compiled": args.compile,
        "precision": args.precision, "clock": args.clock, "batch": args.batch,
        "sequence": args.sequence, "threads": args.threads,
        "params": sum(p.numel() for p in model.parameters()), "best_seconds": round(best, 4),
        "median_seconds": round(median, 4), "tokens_per_second": math.floor(tokens / best),
        "gflops": round(flops / best / 1e9, 1)}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in [args.case] if args.case else CASES:
        run(name, args)


if __name__ == "__main__":
    main()
