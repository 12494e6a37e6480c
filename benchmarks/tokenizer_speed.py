"""Seconds and memory to train a byte-level BPE vocabulary: ours (pure Python) and Hugging Face tokenizers (Rust).

    python benchmarks/tokenizer_speed.py --data my.txt --vocab 4096

Every run is a process of its own, ours and theirs in turn, so that neither warms the other's caches and both see the
same weather on the machine. Seconds are those of training alone, text in memory; memory is the peak of the process
above what it held before training. That both learn the same merges is checked by tests/test_bpe.py, not here.
"""

import time
from pathlib import Path

from side_by_side import flags, main, median, peak_bytes

from minillm.tales import data_file

NAMES = {"ours": "minillm.text.bpe", "theirs": "Hugging Face tokenizers"}


def train_ours(text: str, vocab_size: int) -> int:
    from minillm.text import train_bpe

    return len(train_bpe(text, vocab_size))


def train_theirs(text: str, vocab_size: int) -> int:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer.get_vocab_size()


def measure(who: str, args) -> dict:
    """One training run in this process."""
    train = {"ours": train_ours, "theirs": train_theirs}[who]
    text = args.data.read_text(encoding="utf-8")
    train("import what there is to import", 257)
    held = peak_bytes()
    start = time.perf_counter()
    size = train(text, args.vocab)
    return {"seconds": time.perf_counter() - start, "bytes": peak_bytes() - held, "vocab_size": size}


def show(runs: dict, args) -> dict:
    """Print the table; return what was measured and the ratio."""
    print(f"{args.data.name}: {args.vocab:,} tokens, median of {args.repeats} runs each")
    print(f"{'':24} {'seconds':>8} {'ratio':>6} {'peak MB':>8} {'tokens':>7}")
    seconds = {who: median(own, "seconds") for who, own in runs.items()}
    for who, name in NAMES.items():
        ratio, megabytes = seconds[who] / seconds["theirs"], median(runs[who], "bytes") / 1e6
        print(f"{name:24} {seconds[who]:8.3f} {ratio:6.2f} {megabytes:8.1f} {runs[who][0]['vocab_size']:7,}")
    return {"data": args.data.name, "vocab": args.vocab, "ratio": seconds["ours"] / seconds["theirs"]}


if __name__ == "__main__":
    parser = flags(__doc__, repeats=5)
    parser.add_argument("--data", type=Path, help="UTF-8 text file (default: the training text of the clinic)")
    parser.add_argument("--vocab", type=int, default=4096, help="size of the vocabulary (default: %(default)s)")
    args = parser.parse_args()
    args.data = args.data or data_file("clinic_train.txt")
    if not args.data.is_file():
        parser.error(f"there is no text file {args.data}: name one with --data")
    main(args, list(NAMES), measure, show)
