"""Tokens a second in writing, with the key/value cache, and beside it nanoGPT when its checkout is given.

    python benchmarks/generate_speed.py --peer ../nanoGPT

The same shape (6 layers, 384 channels, 6 heads, GPT-2's parts, a vocabulary of 65), the same number of new tokens from
a prompt of one, random weights. Loading and a first short warm-up are not counted.
"""

import time
from pathlib import Path

import torch
from nanogpt import nanogpt_model
from side_by_side import TINY, flags, main, median, peak_bytes

from minillm.inference import generate
from minillm.models import Decoder, ModelConfig
from minillm.system import pick_device

NAMES = {"ours": "minillm", "nanogpt": "nanoGPT"}
SHAPE = {"layers": 6, "width": 384, "heads": 6, "context": 256, "vocab": 65}
BATCHES = (1, 16)
if TINY:
    SHAPE |= {"layers": 1, "width": 32, "heads": 2}


def ours(batch: int, new: int):
    """A function that writes with our decoder."""
    compute = pick_device()
    config = ModelConfig(
        SHAPE["vocab"], SHAPE["context"], SHAPE["layers"], SHAPE["width"], SHAPE["heads"], recipe="gpt2"
    )
    model = Decoder(config).to(compute.device).eval()
    prompt = torch.zeros(batch, 1, dtype=torch.long, device=compute.device)

    def write(n=new):
        with compute.autocast():
            generate(model, prompt, n)
        compute.synchronise()

    return write


def nanogpt(batch: int, new: int, peer: Path):
    """A function that writes with nanoGPT's model, in fp32."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = nanogpt_model(peer, **SHAPE).to(device).eval()
    prompt = torch.zeros(batch, 1, dtype=torch.long, device=device)

    def write(n=new):
        with torch.no_grad():
            model.generate(prompt, n)
        if device == "cuda":
            torch.cuda.synchronize()

    return write


def measure(name: str, args) -> dict:
    """Tokens a second at each batch size, in this process."""
    result = {}
    for batch in BATCHES:
        write = ours(batch, args.new) if name == "ours" else nanogpt(batch, args.new, args.peer)
        write(8)
        start = time.perf_counter()
        write()
        result[f"batch {batch}"] = batch * args.new / (time.perf_counter() - start)
    return {**result, "bytes": peak_bytes()}


def show(runs: dict, args) -> dict:
    """Print the table; return the ratios."""
    keys = [f"batch {batch}" for batch in BATCHES]
    print(f"tokens a second, {args.new} new tokens, median of {args.repeats} runs")
    print(f"{'':10}" + "".join(f"{key:>12}" for key in keys) + f"{'peak MB':>10}")
    for name, own in runs.items():
        cells = "".join(f"{median(own, key):12,.0f}" for key in keys)
        print(f"{NAMES[name]:10}{cells}{median(own, 'bytes') / 1e6:10,.0f}")
    if "nanogpt" not in runs:
        return {}
    ratio = {key: median(runs["ours"], key) / median(runs["nanogpt"], key) for key in keys}
    print(f"{'ratio':10}" + "".join(f"{ratio[key]:12.2f}" for key in keys))
    return {"ratio": ratio}


if __name__ == "__main__":
    parser = flags(__doc__, repeats=3)
    parser.add_argument("--peer", type=Path, help="a checkout of nanoGPT to run beside ours")
    parser.add_argument("--new", type=int, default=200, help="tokens to write (default: %(default)s)")
    args = parser.parse_args()
    main(args, list(NAMES) if args.peer else ["ours"], measure, show)
