#!/usr/bin/env python3
"""The training step of benchmarks/step_bench.c in PyTorch: same shapes, same precision, same loss.

    torch_step.py [--case NAME] [--batch N] [--sequence N] [--steps N] [--threads N] [--compile]
                  [--precision bf16|f32] [--clock wall|cpu] [--device cpu|cuda] [--state full|lean]

bf16 is torch.autocast over f32 parameters, as usual; with --state lean parameters, gradients and moments
are bf16 themselves (plain rounding), which is what an 8B student needs to fit one device, and faster.
Prints one JSON line per case. Without --case: the cases of the device. `--clock cpu` divides the process' CPU time
by the threads: what a shared machine would have taken without its other guests.
"""

import argparse
import json
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

# name: hidden, layers, heads, kv_heads, head_dim, ffn, vocab, teacher_hidden, family (as in step_bench.c)
HOST_CASES = {
    "1m-v256": (128, 6, 2, 2, 64, 384, 256, 256, "llama"),
    "10m-v256": (320, 8, 5, 5, 64, 896, 256, 640, "llama"),
    "30m-v256": (512, 10, 8, 2, 64, 1408, 256, 1024, "llama"),
    "30m-v32k": (384, 8, 6, 2, 64, 1024, 32000, 768, "llama"),
    "100m-v32k": (768, 12, 12, 4, 64, 2048, 32000, 1536, "llama"),
}
DEVICE_CASES = {
    "0.1b": (768, 12, 12, 4, 64, 2048, 32000, 1536, "llama"),
    "0.5b": (1536, 16, 12, 4, 128, 4096, 32000, 3072, "llama"),
    "1b": (2048, 20, 16, 8, 128, 6144, 32000, 4096, "llama"),
    "4b": (3072, 32, 24, 8, 128, 9216, 256000, 6144, "nemotron"),
    "8b": (4096, 32, 48, 8, 128, 16384, 256000, 6144, "nemotron"),
}
CASES = HOST_CASES | DEVICE_CASES
HEAD_CHUNK = 1024  # tokens whose logits exist at a time in the forward pass of the loss


def rotate(x, cos, sin):
    """Turns the first dimensions of each head; partial rotary leaves the rest."""
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), dim=-1)


def norm_of(hidden, family):
    return nn.RMSNorm(hidden, eps=1e-5) if family == "llama" else nn.LayerNorm(hidden, eps=1e-5)


class Block(nn.Module):
    def __init__(self, hidden, heads, kv_heads, head_dim, ffn, family):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.is_gated = family == "llama"
        self.input_norm = norm_of(hidden, family)
        self.qkv = nn.Linear(hidden, (heads + 2 * kv_heads) * head_dim, bias=False)
        self.o = nn.Linear(heads * head_dim, hidden, bias=False)
        self.post_norm = norm_of(hidden, family)
        self.wide = nn.Linear(hidden, (2 if self.is_gated else 1) * ffn, bias=False)
        self.down = nn.Linear(ffn, hidden, bias=False)

    def forward(self, x, cos, sin):
        batch, sequence, _ = x.shape
        qkv = self.qkv(self.input_norm(x)).view(batch, sequence, -1, self.head_dim).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        o = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v,
                                           is_causal=True, enable_gqa=self.heads != self.kv_heads)
        x = x + self.o(o.transpose(1, 2).reshape(batch, sequence, -1))
        y = self.wide(self.post_norm(x))
        if self.is_gated:
            gate, up = y.chunk(2, dim=-1)
            return x + self.down(F.silu(gate) * up)
        return x + self.down(F.relu(y).square())


class Model(nn.Module):
    def __init__(self, hidden, layers, heads, kv_heads, head_dim, ffn, vocab, family):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.blocks = nn.ModuleList(Block(hidden, heads, kv_heads, head_dim, ffn, family)
                                    for _ in range(layers))
        self.norm = norm_of(hidden, family)
        # Llama cases are tied, the students of the papers are not.
        self.head = self.embedding if family == "llama" else nn.Embedding(vocab, hidden)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids, cos, sin):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x).flatten(0, 1)


def chunk_loss(hidden, head, teacher_hidden, teacher_head):
    student = F.log_softmax(F.linear(hidden, head).float(), dim=-1)
    with torch.no_grad():
        teacher = F.log_softmax(F.linear(teacher_hidden, teacher_head).float(), dim=-1)
    return F.kl_div(student, teacher, reduction="sum", log_target=True)


def backward_of_loss(hidden, head, teacher_hidden, teacher_head, loss_of):
    """KL in chunks, each with its own backward pass: logits are never all in memory."""
    leaf = hidden.detach().requires_grad_(True)
    total = 0.0
    for start in range(0, leaf.shape[0], HEAD_CHUNK):
        part = slice(start, start + HEAD_CHUNK)
        loss = loss_of(leaf[part], head, teacher_hidden[part], teacher_head) / leaf.shape[0]
        loss.backward()
        total = total + loss.detach()
    hidden.backward(leaf.grad)
    return total


def train_flops(case, sequence):
    hidden, layers, heads, kv_heads, head_dim, ffn, vocab, _, family = case
    products = 3 if family == "llama" else 2
    matmul = layers * (hidden * (2 * heads + 2 * kv_heads) * head_dim + products * hidden * ffn)
    return 6 * (matmul + vocab * hidden) + 6 * sequence * layers * heads * head_dim


def run(name, args):
    case = CASES[name]
    hidden, layers, heads, kv_heads, head_dim, ffn, vocab, teacher_width, family = case
    torch.manual_seed(1)
    device = torch.device(args.device)
    is_cuda = device.type == "cuda"
    is_bf16 = args.precision == "bf16"
    is_lean = is_bf16 and args.state == "lean"
    dtype = torch.bfloat16 if is_bf16 else torch.float32
    torch.set_default_dtype(dtype if is_lean else torch.float32)
    with device:
        model = Model(hidden, layers, heads, kv_heads, head_dim, ffn, vocab, family)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95),
                                  weight_decay=0.1, fused=True)
    torch.set_default_dtype(torch.float32)
    step_model = torch.compile(model) if args.compile else model
    loss_of = torch.compile(chunk_loss) if args.compile else chunk_loss
    tokens = args.batch * args.sequence
    ids = torch.randint(0, vocab, (args.batch, args.sequence), device=device)
    teacher_hidden = torch.randn(tokens, teacher_width, device=device).to(dtype)
    teacher_head = (0.05 * torch.randn(vocab, teacher_width, device=device, dtype=dtype))
    rotary = head_dim if family == "llama" else head_dim // 2
    angles = torch.outer(torch.arange(args.sequence),
                         10000.0 ** (-torch.arange(0, rotary, 2) / rotary))
    cos, sin = angles.cos().to(device, dtype), angles.sin().to(device, dtype)

    def step():
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_bf16 and not is_lean):
            hidden_states = step_model(ids, cos, sin)
            backward_of_loss(hidden_states, model.head.weight, teacher_hidden, teacher_head, loss_of)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        if is_cuda:
            torch.cuda.synchronize()

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
    result = {
        "bench": "torch_step", "case": name, "torch": torch.__version__, "compiled": args.compile,
        "device": torch.cuda.get_device_name() if is_cuda else "cpu", "state": args.state,
        "precision": args.precision, "clock": args.clock, "batch": args.batch,
        "sequence": args.sequence, "threads": args.threads,
        "params": sum(p.numel() for p in model.parameters()), "best_seconds": round(best, 4),
        "median_seconds": round(median, 4), "tokens_per_second": math.floor(tokens / best),
        "gflops": round(flops / best / 1e9, 1)}
    if is_cuda:
        result["percent_of_989_tflops"] = round(100 * flops / best / 989e12, 1)
        result["peak_bytes"] = torch.cuda.max_memory_allocated()
    print(json.dumps(result), flush=True)


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
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--state", choices=["full", "lean"], default="full")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in [args.case] if args.case else HOST_CASES if args.device == "cpu" else DEVICE_CASES:
        run(name, args)


if __name__ == "__main__":
    main()
