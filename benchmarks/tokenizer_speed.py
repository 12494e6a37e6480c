"""Seconds and memory to train a byte-level BPE vocabulary: ours (pure Python) and Hugging Face tokenizers (Rust).

    python benchmarks/tokenizer_speed.py --data my.txt --vocab 4096

Every run is a process of its own, ours and theirs in turn, so that neither warms the other's caches and both see the
same weather on the machine. Seconds are those of training alone, text in memory; memory is the peak of the process
above what it held before training. That both learn the same merges is checked by tests/test_bpe.py, not here.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = {"ours": "minillm.bpe", "theirs": "Hugging Face tokenizers"}


def train_ours(text: str, vocab_size: int) -> int:
    sys.path.insert(0, str(ROOT))  # so that it runs without installing the package
    from minillm.bpe import train_bpe

    return len(train_bpe(text, vocab_size))


def train_theirs(text: str, vocab_size: int) -> int:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer.get_vocab_size()


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(who: str, text: str, vocab_size: int) -> dict:
    """One training run in this process."""
    train = {"ours": train_ours, "theirs": train_theirs}[who]
    train("import what there is to import", 257)
    held = peak_bytes()
    start = time.perf_counter()
    size = train(text, vocab_size)
    return {"seconds": time.perf_counter() - start, "bytes": peak_bytes() - held, "vocab_size": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="UTF-8 text file (default: the first .txt file in data/)")
    parser.add_argument("--vocab", type=int, default=4096, help="size of the vocabulary (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all runs to FILE")
    parser.add_argument("--run", choices=NAMES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.data = args.data or min((ROOT / "data").rglob("*.txt"), default=None)
    if args.data is None or not args.data.is_file():
        parser.error(f"there is no text file {args.data or 'in data/'}: name one with --data")
    text = args.data.read_text(encoding="utf-8")
    if args.run:
        print(json.dumps(measure(args.run, text, args.vocab)))
        return

    runs = {who: [] for who in NAMES}
    for _ in range(args.repeats):
        for who in NAMES:
            command = [sys.executable, __file__, "--data", args.data, "--vocab", str(args.vocab), "--run", who]
            runs[who].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))

    medians = {who: statistics.median(run["seconds"] for run in runs[who]) for who in NAMES}
    print(f"{args.data.name}: {len(text):,} characters, {args.vocab:,} tokens, median of {args.repeats} runs each")
    print(f"{'':24} {'seconds':>8} {'ratio':>6} {'peak MB':>8} {'tokens':>7}")
    for who, name in NAMES.items():
        megabytes = statistics.median(run["bytes"] for run in runs[who]) / 1e6
        ratio = medians[who] / medians["theirs"]
        print(f"{name:24} {medians[who]:8.3f} {ratio:6.2f} {megabytes:8.1f} {runs[who][0]['vocab_size']:7,}")
    if args.json:
        record = {"data": args.data.name, "characters": len(text), "vocab": args.vocab, "runs": runs}
        args.json.write_text(json.dumps({**record, "ratio": medians["ours"] / medians["theirs"]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
