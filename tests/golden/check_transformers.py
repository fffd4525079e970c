#!/usr/bin/env python3
"""Loads model directories written by coppice in transformers and compares the logits.

    check_transformers.py --dump PROGRAM MODEL...           directories to compare
    check_transformers.py --dump PROGRAM --coppice PROGRAM  prunes each model of tests/golden first

Exit code 0: all agree within 1e-4 of the largest logit; 1: one does not; 77: there is no
transformers to compare with (ctest counts the test as skipped).
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, logging
except ImportError as reason:
    print(f"skipped: {reason}")
    sys.exit(77)

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = 1e-4  # relative to the largest logit: f32 on both sides, in different orders
BATCH, SEQUENCE = 2, 17

# What is cut out of the golden models: every axis at once, then one at a time.
CUTS = ["layers=1,hidden=36,heads=4,ffn=50", "kv_heads=1,heads=3", "hidden=30", "ffn=33",
        "layers=1"]


def difference(model_folder, dump, work):
    """Largest difference of the logits over the largest logit."""
    model, info = AutoModelForCausalLM.from_pretrained(
        model_folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    problems = {key: sorted(value) for key, value in info.items() if value}
    if problems:
        raise RuntimeError(f"transformers does not find what it expects: {problems}")
    model.eval()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, model.config.vocab_size, (BATCH, SEQUENCE), generator=generator)
    ids_file, logits_file = work / "ids.json", work / "logits.safetensors"
    ids_file.write_text(json.dumps(ids.tolist()))
    subprocess.run([dump, model_folder, ids_file, logits_file], check=True)
    with torch.no_grad():
        want = model(input_ids=ids, use_cache=False).logits
    got = load_file(logits_file)["logits"]
    if got.shape != want.shape or not torch.isfinite(want).all():
        raise RuntimeError(f"shapes {tuple(got.shape)} and {tuple(want.shape)}, or not finite")
    return ((got - want).abs().max() / want.abs().max()).item()


def pruned_models(coppice, work):
    for config in sorted(HERE.glob("*/config.json")):
        for number, cut in enumerate(CUTS):
            out = work / f"{config.parent.name}-{number}"
            subprocess.run([coppice, "prune", config.parent, "--order", "random", "--to", cut,
                            "-o", out], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            yield out, f"{config.parent.name} {cut}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--dump", required=True, type=pathlib.Path)
    parser.add_argument("--coppice", type=pathlib.Path)
    given = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    count = failures = 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        models = [(path, str(path)) for path in given.models]
        if given.coppice:
            models = pruned_models(given.coppice, work)
        for path, name in models:
            relative = difference(path, given.dump, work)
            is_good = relative <= TOLERANCE
            print(f"{'ok    ' if is_good else 'FAILED'} {relative:.2e}  {name}")
            count += 1
            failures += not is_good
    print(f"{count - failures} of {count} agree with transformers")
    return 1 if failures or not count else 0


if __name__ == "__main__":
    sys.exit(main())
