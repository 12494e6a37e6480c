"""Seconds and memory of a tuning step: ours, and peft's LoRA on transformers' GPT-2, in turn.

    python benchmarks/peft_speed.py
    python benchmarks/peft_speed.py --methods                      # every method of ours instead

6 layers of 384, batch 8, context 256, vocabulary 2,048; rank 8 on the attention input (queries, keys, values); AdamW,
clipping at 1; random tokens, each predicting the next. Ours is measured on our own recipe and on GPT-2's parts, which
compute exactly what transformers does. Memory is the most that a process held, less what it held before the first step.
"""

import statistics
from collections.abc import Iterator

import torch
from side_by_side import TINY, flags, main, median, peak_bytes
from torch import nn

from minillm import peft
from minillm.models import Decoder, ModelConfig
from minillm.system import Compute, pick_device
from minillm.training import TrainConfig, causal_lm, fit

LAYERS, WIDTH, HEADS, CONTEXT, BATCH, VOCAB = (1, 32, 2, 16, 2, 64) if TINY else (6, 384, 6, 256, 8, 2048)
RANK, ALPHA, RATE = 8, 16, 1e-3
WARMUP, COUNTED = 2, 10  # steps
LORA = peft.LoRA(rank=RANK, alpha=ALPHA, targets=("query", "key", "value"))
PEERS = ("peft, LoRA", "transformers, full")
OURS = ("ours, LoRA", "ours, GPT-2's parts, LoRA", "ours, full", "ours, GPT-2's parts, full")


def batches(compute: Compute, clock: list[float]) -> Iterator[dict]:
    """The same random rows for every step; appends the time to `clock` before each."""
    ids = torch.randint(VOCAB, (BATCH, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    while True:
        clock.append(compute.synchronise())
        yield {"input_ids": ids, "labels": ids}


def tune_ours(name: str, compute: Compute, clock: list[float]) -> nn.Module:
    """Steps of `fit`."""
    recipe = "gpt2" if "GPT-2" in name else "minillm"
    model = Decoder(ModelConfig(VOCAB, CONTEXT, LAYERS, WIDTH, HEADS, recipe=recipe))
    method = name.rpartition(", ")[2]
    if method != "full":
        method = LORA if method == "LoRA" else peft.METHODS[method]()
        if isinstance(method, peft.SoftPrompt):  # the prompt has its place in the context, too
            model = Decoder(ModelConfig(VOCAB, CONTEXT + method.length, LAYERS, WIDTH, HEADS, recipe=recipe))
        model = peft.inject(model, method)
        peft.freeze(model)
    steps = WARMUP + COUNTED
    config = TrainConfig(steps=steps, eval_every=steps, optimizer="adamw", learning_rate=RATE)
    fit(model, causal_lm, batches(compute, clock), config, progress=False)
    return model


def tune_peer(name: str, compute: Compute, clock: list[float]) -> nn.Module:
    """The steps of a plain loop over transformers' model."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_positions": CONTEXT, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, **sizes, **rates)).to(compute.device).train()
    if name == "peft, LoRA":
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["c_attn"], fan_in_fan_out=True)
        model = get_peft_model(model, lora)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=RATE, fused=True)
    for batch, _ in zip(batches(compute, clock), range(WARMUP + COUNTED)):
        ids = batch["input_ids"].to(compute.device)
        with compute.autocast():
            logits = model(ids[:, :-1]).logits
            loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model


def measure(name: str, args) -> dict:
    """One run: seconds of the median step, memory, and how much learns."""
    compute, clock = pick_device("auto", "auto"), []
    if name in PEERS:
        import peft as _peft  # noqa: F401  its import is no part of the memory
        import transformers  # noqa: F401
    before = peak_bytes() if compute.device.type == "cpu" else 0
    model = (tune_peer if name in PEERS else tune_ours)(name, compute, clock)
    clock.append(compute.synchronise())
    seconds = [b - a for a, b in zip(clock, clock[1:])][WARMUP : WARMUP + COUNTED]
    return {
        "seconds": statistics.median(seconds),
        "memory": compute.peak_memory() - before,
        "learn": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def show(runs: dict[str, list[dict]], args) -> dict:
    """A line each, and the ratio to peft's LoRA, or to our own full step."""
    yard = "peft, LoRA" if "peft, LoRA" in runs else "ours, full"
    found = {}
    for name, own in runs.items():
        row = {key: median(own, key) for key in ("seconds", "memory", "learn", "parameters")}
        pairs = zip(own, runs[yard])
        row["ratio"] = statistics.median(theirs["seconds"] / mine["seconds"] for mine, theirs in pairs)
        found[name] = row
        print(
            f"{name:28s} {1000 * row['seconds']:6.0f} ms a step, {row['memory'] / 1e6:5.0f} MB, "
            f"{row['learn']:10,.0f} of {row['parameters']:,.0f} learn; {row['ratio']:.2f} times as fast as {yard}"
        )
    return {"figures": found}


if __name__ == "__main__":
    parser = flags(__doc__, repeats=3)
    parser.add_argument("--methods", action="store_true", help="every method of ours, and full tuning")
    given = parser.parse_args()
    every = ["ours, full", "ours, LoRA", *(f"ours, {key}" for key in peft.METHODS)]
    main(given, every if given.methods else [*PEERS, *OURS], measure, show)
