"""Seconds to a loss that nanoGPT made known, on a text of characters, and beside it nanoGPT when its checkout is given.

    python benchmarks/time_to_loss.py --data tinyshakespeare.txt --peer ../nanoGPT
    python benchmarks/time_to_loss.py --data tinyshakespeare.txt --work headline

small      nanoGPT's documented recipe for a CPU (4 x 128, context 64, 2,000 steps), whose exact loss is 1.898
headline   what its README promises of a GPU (6 x 384, context 256, 5,000 steps): 1.4697

Seconds are those of the whole process, from the command to the trained model: the interpreter's start, every import,
reading the text. Neither side evaluates while it trains. Then the exact loss, out of time: each character of the last
tenth of the text predicted once, in windows of the stated context. A turn is a seed of ours; nanoGPT's is always 1337.
Ours has no n-gram embeddings. Its settings were found on a slice of the training text.
"""

import tempfile
from pathlib import Path

import torch
from nanogpt import train_nanogpt
from side_by_side import TINY, flags, main, median, peak_bytes, seconds_since_start

from minillm.data import Tokens, Windows, tokenize
from minillm.models import Decoder, ModelConfig
from minillm.system import pick_device, seed_everything
from minillm.text import Tokenizer, read_text, split_stream
from minillm.training import TrainConfig, causal_lm, causal_lm_sum, fit, mean_loss

NAMES = {"ours": "minillm", "nanogpt": "nanoGPT"}
TARGET = {"small": 1.898, "headline": 1.4697}
CONTEXT = {"small": 64, "headline": 256}
# layers, width, heads, windows in a batch, steps
OURS = {"small": (1, 128, 2, 16, 190), "headline": (3, 128, 2, 8, 1500)}
if TINY:
    OURS = dict.fromkeys(OURS, (1, 32, 2, 2, 3))
RATES = {"learning_rate": 0.04, "matrix_learning_rate": 0.03, "head_learning_rate": 0.015, "warmup": 0}
FIRST_SEED = 100  # none of those that the settings were found with
NANOGPT = {
    "small": "n_layer=4 n_head=4 n_embd=128 block_size=64 batch_size=12 max_iters=2000 lr_decay_iters=2000",
    "headline": "n_layer=6 n_head=6 n_embd=384 block_size=256 batch_size=64 max_iters=5000 lr_decay_iters=5000",
}
# The rest of config/train_shakespeare_char.py; dropout is 0.2 in its GPU recipe and 0 in that for a CPU.
NANOGPT_REST = "learning_rate=1e-3 min_lr=1e-4 beta2=0.99 warmup_iters=100 gradient_accumulation_steps=1 eval_iters=1"


def characters(path: Path) -> tuple[Tokenizer, Tokens, Tokens]:
    """The text in characters: its first nine tenths, and the rest."""
    train, valid = split_stream(read_text(path), 0.1)
    tokenizer = Tokenizer.characters([train, valid])
    return tokenizer, tokenize([train], tokenizer, whole=True), tokenize([valid], tokenizer, whole=True)


def run_ours(args, train: Tokens, vocab: int):
    """Train our model; a function that gives its loss on a batch."""
    seed = FIRST_SEED + args.turn
    seed_everything(seed)
    layers, width, heads, batch, steps = OURS[args.work]
    context = CONTEXT[args.work]
    model = Decoder(ModelConfig(vocab, context, layers, width, heads))
    config = TrainConfig(steps=steps, eval_every=steps, decay_share=0.8, **RATES)
    if fit(model, causal_lm, Windows(train, context, batch, seed), config, progress=False).stopped:
        raise SystemExit("stopped")
    return model, causal_lm


def run_nanogpt(args, train: Tokens, valid: Tokens):
    """Run nanoGPT's train.py on the same tokens; a function that gives its loss on a batch."""
    gpu = torch.cuda.is_available()
    settings = dict(flag.split("=") for flag in f"{NANOGPT[args.work]} {NANOGPT_REST}".split())
    settings |= {"device": "cuda" if gpu else "cpu", "compile": gpu, "dropout": 0.2 if args.work == "headline" else 0.0}
    settings |= {"eval_interval": settings["max_iters"], "log_interval": settings["max_iters"]}
    with tempfile.TemporaryDirectory() as folder:
        settings["out_dir"] = f"{folder}/out"
        left = train_nanogpt(args.peer, Path(folder), train.ids.numpy(), valid.ids.numpy(), settings)

    def loss(model, batch: dict):
        input_ids = batch["input_ids"][:, :-1].contiguous()
        logits, _ = model(input_ids, input_ids)  # without targets it gives the last position alone
        return causal_lm_sum(logits, batch["labels"])

    return left["raw_model"] if "raw_model" in left else left["model"], loss


def measure(name: str, args) -> dict:
    """Train in this process, then score exactly."""
    tokenizer, train, valid = characters(args.data)
    model, loss = run_ours(args, train, tokenizer.vocab_size) if name == "ours" else run_nanogpt(args, train, valid)
    compute = pick_device()
    compute.synchronise()
    seconds, memory = seconds_since_start(), max(peak_bytes(), compute.peak_memory())
    exact = mean_loss(model, loss, Windows(valid, CONTEXT[args.work], 32), compute)
    return {
        "seconds": seconds,
        "loss": exact,
        "bytes": memory,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def show(runs: dict, args) -> dict:
    """Print the table; return the ratio."""
    target = TARGET[args.work]
    print(f"{args.work}: to {target} nats per character at context {CONTEXT[args.work]}, {args.repeats} runs of each")
    print(f"{'':10} {'seconds':>8} {'to':>6} {'loss':>7} {'to':>7} {'reached':>8} {'peak MB':>8} {'parameters':>11}")
    for name, own in runs.items():
        seconds, losses = sorted(run["seconds"] for run in own), sorted(run["loss"] for run in own)
        reached = f"{sum(loss <= target for loss in losses)} of {len(losses)}"
        print(
            f"{NAMES[name]:10} {seconds[0]:8.1f} {seconds[-1]:6.1f} {losses[0]:7.4f} {losses[-1]:7.4f} {reached:>8} "
            f"{median(own, 'bytes') / 1e6:8,.0f} {own[0]['parameters']:11,}"
        )
    if "nanogpt" not in runs:
        return {}
    ratio = median(runs["nanogpt"], "seconds") / median(runs["ours"], "seconds")
    print(f"{ratio:.1f} times faster, medians of whole processes")
    return {"ratio": ratio}


if __name__ == "__main__":
    parser = flags(__doc__, repeats=3)
    parser.add_argument("--data", type=Path, required=True, help="a text file, such as tinyshakespeare")
    parser.add_argument("--work", choices=TARGET, default="small", help="the loss to reach (default: %(default)s)")
    parser.add_argument("--peer", type=Path, help="a checkout of nanoGPT to run beside ours")
    args = parser.parse_args()
    main(args, (["nanogpt"] if args.peer else []) + ["ours"], measure, show)
