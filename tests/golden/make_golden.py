#!/usr/bin/env python3
"""Makes the golden data of tests/golden: tiny random models and their logits by transformers.

Each case becomes a folder with a Hugging Face model (config.json, f32 model.safetensors), the file
ids.json ([batch, sequence] token ids) and expected.safetensors ("logits", f32, [batch, sequence,
vocab]). Every parameter is random, norms and biases too, so that no term can be forgotten unseen.

Run from this folder, with the versions that manifest.json names:
    python3 make_golden.py
The models are computed in f64 and only then rounded to f32, so that the expected values do not carry
PyTorch's own rounding. Tables of the rotary embedding are computed by transformers in f32.
"""

import hashlib
import json
import pathlib
import platform
import shutil

import safetensors
import safetensors.torch
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, NemotronConfig

SEED = 20240721
BATCH, SEQUENCE = 2, 24
HERE = pathlib.Path(__file__).resolve().parent

COMMON = dict(vocab_size=96, hidden_size=48, num_hidden_layers=2, num_attention_heads=6,
              num_key_value_heads=2, head_dim=10, max_position_embeddings=64, bos_token_id=1,
              eos_token_id=2)
# With these, the five wavelengths of a head fall into all three bands.
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 32}

# Grouped heads, and head_dim != hidden_size / num_attention_heads, everywhere.
CASES = {
    "llama": LlamaConfig(**COMMON, intermediate_size=80, rms_norm_eps=1e-5),
    "llama_tied_rope3": LlamaConfig(**COMMON, intermediate_size=80, tie_word_embeddings=True,
                                    rope_theta=500.0, rope_scaling=dict(LLAMA3_ROPE)),
    "llama_bias": LlamaConfig(**COMMON, intermediate_size=80, attention_bias=True, mlp_bias=True,
                              rope_scaling={"rope_type": "linear", "factor": 4.0},
                              hidden_act="gelu_pytorch_tanh"),
    "nemotron": NemotronConfig(**{**COMMON, "head_dim": 12}, intermediate_size=104),
    "nemotron_tied_partial": NemotronConfig(**{**COMMON, "head_dim": 16}, intermediate_size=104,
                                            tie_word_embeddings=True, partial_rotary_factor=0.25,
                                            rope_theta=300.0),
    "nemotron_bias": NemotronConfig(**{**COMMON, "head_dim": 12}, intermediate_size=104,
                                    attention_bias=True, mlp_bias=True, hidden_act="gelu"),
}


def randomize(model, generator):
    """Weights of a size at which every part of the computation shows in the logits."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.dim() == 2:
                parameter.copy_(noise * (0.6 if "embed" in name else 0.25))
            elif name.endswith("bias"):
                parameter.copy_(noise * 0.2)
            else:  # a norm's gain; Nemotron's files hold gain - 1
                offset = 0.0 if model.config.model_type == "nemotron" else 1.0
                parameter.copy_(offset + noise * 0.3)
            # What the file will hold.
            parameter.copy_(parameter.to(torch.float32).to(torch.float64))


def make_case(name, config, generator):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64,
                                             attn_implementation="eager").eval()
    randomize(model, generator)
    ids = torch.randint(0, config.vocab_size, (BATCH, SEQUENCE), generator=generator)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    model.to(torch.float32).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "ids.json").write_text(json.dumps(ids.tolist()) + "\n")
    safetensors.torch.save_file({"logits": logits.to(torch.float32).contiguous()},
                                folder / "expected.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)


def main():
    generator = torch.Generator().manual_seed(SEED)
    for name, config in CASES.items():
        make_case(name, config, generator)
    files = sorted(p for name in CASES for p in (HERE / name).iterdir())
    manifest = {
        "script": "make_golden.py",
        "seed": SEED,
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__,
                     "safetensors": safetensors.__version__},
        "cases": list(CASES),
        "sha256": {str(p.relative_to(HERE)): hashlib.sha256(p.read_bytes()).hexdigest()
                   for p in files},
    }
    (HERE / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
