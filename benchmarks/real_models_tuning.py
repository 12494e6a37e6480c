"""Seconds and memory of a LoRA step on a real model: ours, and peft's on transformers' model, in turn.

    python benchmarks/real_models_tuning.py MODEL
    python benchmarks/real_models_tuning.py MODEL --labelled 0.5 --json FILE

MODEL is a folder in Hugging Face's format of a decoder, such as SmolLM2-135M-Instruct. 4 rows of 256 tokens, rank 8 on
every linear layer of the layers, bf16 weights, autocast to bf16, adapters in fp32, fused AdamW; one thread. The last
share `--labelled` of each row counts in the loss, as an answer does. The rows and the labels are the same, and so is
the first loss, which each run prints.

Seconds are processor seconds of the one thread, which are those of the clock where nothing else runs. Memory is the
most that the process held during the steps, the interpreter and its libraries included; `loaded`, what it held before.
"""

import statistics
import time
from pathlib import Path

import torch
from side_by_side import flags, main, median, peak_bytes
from torch import nn

from minillm.data import IGNORE_INDEX
from minillm.hub import load_model
from minillm.peft import LoRA, freeze, inject
from minillm.training import causal_objective, recompute

ROWS, LENGTH, RANK, ALPHA, RATE = 4, 256, 8, 16, 1e-4
WARMUP, COUNTED = 1, 4  # steps
NAMES = ("peft", "ours", "peft, recompute", "ours, recompute")


def batch_of(labelled: float, vocab_size: int) -> dict:
    """Random rows, whose last share counts."""
    ids = torch.randint(vocab_size, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, : round(LENGTH * (1 - labelled))] = IGNORE_INDEX
    return {"input_ids": ids, "labels": labels}


def ours(folder: Path, twice: bool):
    """Our model with LoRA, and its loss of a batch."""
    model = inject(load_model(folder, dtype=torch.bfloat16), LoRA(rank=RANK, alpha=float(ALPHA)))
    freeze(model)
    loss = causal_objective(model)

    def mean(batch: dict) -> torch.Tensor:
        total, count = loss(model, batch)
        return total / count

    return recompute(model) if twice else model, mean


def peers(folder: Path, twice: bool):
    """transformers' model with peft's LoRA, and its loss of a batch."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"))
    if twice:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    return model, lambda batch: model(**batch, use_cache=False).loss


def held(peak: bool) -> int:
    """Bytes that this process holds, or the most that it has held since `forget`."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmHWM" if peak else "VmRSS"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        return peak_bytes()


def forget() -> None:
    """Let the most that was held begin anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("the memory while loading counts, too")


def measure(name: str, args) -> dict:
    """One run: processor seconds of the median step, memory, the first and the last loss."""
    torch.set_num_threads(1)
    model, loss = (ours if name.startswith("ours") else peers)(args.model, name.endswith("recompute"))
    model.train()
    batch = batch_of(args.labelled, model.config.vocab_size)
    learns = [p for p in model.parameters() if p.requires_grad]
    optimizer, seconds, losses = torch.optim.AdamW(learns, lr=RATE, fused=True), [], []
    forget()
    loaded = held(peak=False)
    for _ in range(WARMUP + COUNTED):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(batch)
        value.backward()
        nn.utils.clip_grad_norm_(learns, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.process_time() - start)
        losses.append(float(value.detach()))
    return {
        "seconds": statistics.median(seconds[WARMUP:]),
        "memory": held(peak=True),
        "loaded": loaded,
        "learn": sum(p.numel() for p in learns),
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def show(runs: dict[str, list[dict]], args) -> dict:
    """A line each, and the ratio to peft in the same turn, with the same recomputation."""
    found = {}
    for name, own in runs.items():
        row = {key: median(own, key) for key in own[0]}
        yard = runs[name.replace("ours", "peft")]
        row["ratio"] = statistics.median(theirs["seconds"] / mine["seconds"] for mine, theirs in zip(own, yard))
        found[name] = row
        print(
            f"{name:18s} {row['seconds']:6.2f} s a step, {row['memory'] / 1e6:6,.0f} MB ({row['loaded'] / 1e6:,.0f} "
            f"before the first), first loss {row['first_loss']:.3f}; {row['ratio']:.2f} times as fast as peft"
        )
    return {"labelled": args.labelled, "figures": found}


if __name__ == "__main__":
    parser = flags(__doc__, repeats=3)
    parser.add_argument("model", type=Path, help="a folder in Hugging Face's format")
    parser.add_argument("--labelled", type=float, default=1.0, help="share of each row that counts")
    main(parser.parse_args(), list(NAMES), measure, show)
