"""A real model here and in the library that most people use it with: seconds, tokens a second, memory.

    python benchmarks/real_models.py --model smollm2 --stages generation

`--model` is a folder in Hugging Face's format that both read. Ours and transformers take turns, each run a process of
its own on one thread. Prefill is reading the prompt and choosing a token; decoding is each token after it. Seconds are
those of the processor, so that other programs on the machine disturb little; loading and a first short run are not
counted.

    generation    greedy, batches of 1 and 8, fp32 and bf16 weights; beams: 4 of them after a long prompt
"""

import time
from pathlib import Path

import torch
from side_by_side import flags, main, median, peak_bytes

from minillm.hub import load_model
from minillm.inference import beam_search, generate

NAMES = {"ours": "minillm", "transformers": "transformers"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCHES, BEAMS, LONG = (1, 8), 4, 500


def seconds(action, *arguments) -> float:
    """Processor time."""
    start = time.process_time()
    action(*arguments)
    return time.process_time() - start


def ours(path: Path, dtype: torch.dtype):
    """Functions that write greedily, and in beams."""
    model = load_model(path, dtype=dtype)
    return lambda ids, new: generate(model, ids, new, 0), lambda ids, new: beam_search(model, ids, new, BEAMS)


def transformers(path: Path, dtype: torch.dtype):
    """The same with transformers."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()

    def write(ids, new, **more):
        plain = {"do_sample": False, "max_new_tokens": new, "min_new_tokens": new, "pad_token_id": 0}
        return model.generate(ids, attention_mask=torch.ones_like(ids), **plain, **more)

    return write, lambda ids, new: write(ids, new, num_beams=BEAMS)


def prompt(batch: int, length: int) -> torch.Tensor:
    """Ids of no meaning."""
    return torch.randint(100, 20_000, (batch, length), generator=torch.Generator().manual_seed(0))


def generation(name: str, args) -> dict:
    """Tokens a second in decoding, seconds of prefill, seconds of beams, bytes at most."""
    result = {}
    for kind, dtype in DTYPES.items():
        write, beams = (ours if name == "ours" else transformers)(args.model, dtype)
        write(prompt(1, 8), 2)
        for batch in BATCHES:
            first, whole = (seconds(write, prompt(batch, 16), new) for new in (1, args.new + 1))
            result[f"{kind}, batch {batch}"] = batch * args.new / (whole - first)
        result[f"{kind}, prefill"] = seconds(write, prompt(1, LONG), 1)
        result[f"{kind}, beams"] = seconds(beams, prompt(1, LONG), 8)
    return {**result, "bytes": peak_bytes()}


STAGES = {"generation": generation}


def measure(name: str, args) -> dict:
    """All stages that were asked for, in this process."""
    torch.set_num_threads(1)
    return {f"{stage}: {key}": value for stage in args.stages for key, value in STAGES[stage](name, args).items()}


def show(runs: dict, args) -> dict:
    """Print the table; return how many times better ours is at each."""
    ratio = {}
    print(
        f"{'median of ' + str(args.repeats):36}" + "".join(f"{label:>14}" for label in NAMES.values()) + f"{'times':>8}"
    )
    for key in runs["ours"][0]:
        own, other = median(runs["ours"], key), median(runs["transformers"], key)
        fast = "batch" in key
        ratio[key] = own / other if fast else other / own
        unit = "tokens/s" if fast else "bytes" if key.endswith("bytes") else "seconds"
        cells = "".join(f"{value:14,.2f}" if value < 1e6 else f"{value / 1e6:11,.0f} MB" for value in (own, other))
        print(f"{key:27}{unit:>9}{cells}{ratio[key]:8.2f}")
    return {"ratio": ratio}


if __name__ == "__main__":
    parser = flags(__doc__, repeats=3)
    parser.add_argument("--model", type=Path, required=True, help="a folder in Hugging Face's format")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="what to measure")
    parser.add_argument("--new", type=int, default=30, help="tokens to decode (default: %(default)s)")
    args = parser.parse_args()
    main(args, list(NAMES), measure, show)
