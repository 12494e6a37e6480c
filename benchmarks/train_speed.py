"""Tokens a second in training, and beside it nanoGPT when its checkout is given.

    python benchmarks/train_speed.py --peer ../nanoGPT
    python benchmarks/train_speed.py --sweep cost.png

The same architecture (GPT-2's parts, with the GELU that nanoGPT computes), batch, optimizer (AdamW) and clipping, on
random tokens. Loading, compiling and the first steps are not counted. MFU is the share of what one large matrix product
does in the same run: 6 operations for each weight and token, and 12 L C T for attention (Chowdhery et al. 2022,
appendix B). --sweep draws speed and memory of our own recipe against width, context and batch.
"""

import statistics
from itertools import islice
from pathlib import Path

import torch
from nanogpt import nanogpt_model
from side_by_side import TINY, flags, main, median, peak_bytes, product_rate
from torch import nn

from minillm.models import Decoder, ModelConfig
from minillm.report import COLOURS, LINE_STYLES, picture
from minillm.system import Compute, pick_device
from minillm.training import TrainConfig, causal_lm, fit

# layers, width, heads, context, batch, vocabulary
SHAPES = {"small": (4, 128, 4, 64, 12, 65), "6 x 384": (6, 384, 6, 256, 8, 65)}
SHAPES_ON_A_GPU = {"GPT-2": (12, 768, 12, 1024, 12, 50304)}  # as in nanoGPT's bench.py
NAMES = {"ours": "minillm", "nanogpt": "nanoGPT"}
SWEEP = {"width": (128, 256, 384, 512, 768), "context": (64, 128, 256, 512, 1024, 2048), "batch": (1, 4, 16, 64)}
STANDING = {"width": 256, "context": 256, "batch": 4}  # what the other two are while one is swept
WARMUP = 3  # steps that are not counted
COUNTED, SWEPT = 20, 6  # steps that are; in a sweep, whose largest shapes are slow


def shapes() -> dict[str, tuple]:
    """What to measure on this machine."""
    if TINY:
        return {"tiny": (1, 32, 2, 32, 2, 65)}
    return SHAPES_ON_A_GPU if torch.cuda.is_available() else SHAPES


def batches(context: int, batch: int, vocab: int, steps: int, clock: list[float], compute: Compute):
    """The same random windows for every step. Appends the time to `clock` before each step."""
    input_ids = torch.randint(vocab, (batch, context + 1))
    for _ in range(steps):
        clock.append(compute.synchronise())
        yield {"input_ids": input_ids, "labels": input_ids}


def time_ours(model: nn.Module, optimizer: str, stream, steps: int, compiled: bool) -> None:
    """Train with `fit`, as everybody does."""
    fit(
        model,
        causal_lm,
        stream,
        TrainConfig(steps=steps, eval_every=steps, optimizer=optimizer, compile=compiled),
        progress=False,
    )


def time_nanogpt(model: nn.Module, stream, compute: Compute, compiled: bool) -> None:
    """The steps of nanoGPT's train.py. It computes in fp32 on a CPU."""
    model.to(compute.device)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), compute.device.type)
    forward = torch.compile(model) if compiled else model
    for batch in stream:
        x, y = (compute.to_device({"x": batch["input_ids"][:, a:b].contiguous()})["x"] for a, b in ((0, -1), (1, None)))
        with compute.autocast():
            loss = forward(x, y)[1]
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def operations(model: nn.Module, layers: int, width: int, context: int) -> int:
    """Floating-point operations of a training step for each token."""
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    return 6 * weights + 12 * layers * width * context


def measure(name: str, args) -> dict:
    """Tokens a second, share of the matrix product's speed, and peak memory of one shape in this process."""
    who, _, which = name.partition(", ")
    gpu = torch.cuda.is_available()
    if who == "sweep":
        size = STANDING | {key: int(value) for key, value in [which.split(" ")]}
        layers, width, heads, vocab = 4, size["width"], size["width"] // 64, 1536
        context, batch = size["context"], size["batch"]
        model = Decoder(ModelConfig(vocab, context, layers, width, heads))
    else:
        layers, width, heads, context, batch, vocab = shapes()[which]
        if who == "nanogpt":
            model = nanogpt_model(args.peer, vocab, context, layers, width, heads)
        else:
            model = Decoder(ModelConfig(vocab, context, layers, width, heads, recipe="gpt2"))
            for block in model.blocks:
                block.feed_forward.activation = nn.GELU()
    compute = Compute(torch.device("cpu"), torch.float32) if who == "nanogpt" and not gpu else pick_device()
    rate = product_rate(pick_device())
    before = peak_bytes()
    clock: list[float] = []
    steps = WARMUP + (SWEPT if who == "sweep" else COUNTED)
    stream = batches(context, batch, vocab, steps, clock, compute)
    if who == "nanogpt":
        time_nanogpt(model, stream, compute, gpu)
    else:
        time_ours(model, "muon" if who == "sweep" else "adamw", stream, steps, gpu)
    seconds = statistics.median(b - a for a, b in zip(islice(clock, WARMUP, None), clock[WARMUP + 1 :]))
    speed = batch * context / seconds
    share = speed * operations(model, layers, width, context) / rate
    most = max(peak_bytes(), compute.peak_memory())
    return {"tokens_per_second": speed, "mfu": share, "bytes": most, "of_steps": most - before, "rate": rate}


def show(runs: dict, args) -> dict:
    """Print the table; return the medians and the ratios."""
    rate = statistics.median(run["rate"] for own in runs.values() for run in own)
    print(f"one large matrix product: {rate / 1e9:,.0f} GFLOP/s; median of {args.repeats} runs of each")
    print(f"{'':22} {'tokens/s':>10} {'MFU':>6} {'peak MB':>8} {'ratio':>6}")
    figures: dict = {"median": {}, "ratio": {}}
    for name, own in runs.items():
        figures["median"][name] = {key: median(own, key) for key in own[0]}
        who, _, which = name.partition(", ")
        cells = figures["median"][name]
        peer = figures["median"].get(f"nanogpt, {which}") if who == "ours" else None
        if peer:
            figures["ratio"][which] = cells["tokens_per_second"] / peer["tokens_per_second"]
        ratio = f"{figures['ratio'][which]:6.2f}" if peer else ""
        label = f"{NAMES.get(who, who)}, {which}"
        print(
            f"{label:22} {cells['tokens_per_second']:10,.0f} {cells['mfu']:6.0%} {cells['bytes'] / 1e6:8,.0f} {ratio}"
        )
    if args.sweep:
        draw(figures["median"], args.sweep)
    return figures


def draw(cells: dict, path: Path) -> None:
    """Speed and memory by size, a panel for each quantity that is swept.

    Memory is what the process holds at most above what it held before the first step, on a GPU all that it holds.
    """
    with picture(path, figsize=(9.6, 4.8)) as ax:
        figure = ax.figure
        ax.remove()
        panels = figure.subplots(2, len(SWEEP), sharey="row", sharex="col")
        for column, (key, values) in zip(panels.T, SWEEP.items()):
            rows = [cells[f"sweep, {key} {value}"] for value in values]
            speed = [row["tokens_per_second"] for row in rows]
            column[0].plot(values, speed, marker="o", color=COLOURS[0], linestyle=LINE_STYLES[0])
            memory = [row["of_steps"] / 1e6 for row in rows]
            column[1].plot(values, memory, marker="s", color=COLOURS[1], linestyle=LINE_STYLES[1])
            straight = [memory[-1] * value / values[-1] for value in values]
            column[1].plot(values, straight, color="#444444", linewidth=0.8, linestyle=":", label="in proportion")
            column[0].set(xscale="log", yscale="log", title=f"by {key}")
            column[1].set(xscale="log", yscale="log", xlabel=key)
            column[1].set_xticks(values, [f"{value:,}" for value in values])
            column[1].minorticks_off()
        panels[0, 0].set(ylabel="tokens a second")
        panels[1, 0].set(ylabel="peak memory of the steps (MB)")
        panels[1, 0].legend()


def names(args) -> list[str]:
    """The runs to do."""
    if args.sweep:
        return [f"sweep, {key} {value}" for key, values in SWEEP.items() for value in values]
    return [f"{who}, {which}" for which in shapes() for who in (["nanogpt"] if args.peer else []) + ["ours"]]


if __name__ == "__main__":
    parser = flags(__doc__, repeats=3)
    parser.add_argument("--peer", type=Path, help="a checkout of nanoGPT to run beside ours")
    parser.add_argument("--sweep", type=Path, metavar="PICTURE", help="draw cost against size into this .png file")
    args = parser.parse_args()
    main(args, names(args), measure, show)
