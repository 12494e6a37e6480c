"""Seconds to encode text with other people's kinds of tokenizers: ours and Hugging Face tokenizers, on the same files.

    python benchmarks/encode_speed.py                        # tokenizers of each kind, trained on the text
    python benchmarks/encode_speed.py --folder SMOLLM2       # the one of a folder in Hugging Face's format

The text is prose and code, this repository's own unless --data names another, a paragraph at a time, once: no memory of
words is warm. One thread each, seconds of the processor. Every run is a process of its own, ours and theirs in turn.
That both give the same ids is checked here on every paragraph, and by tests/text/test_pipeline.py on hostile text.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import ROOT, flags, main, median

os.environ["TOKENIZERS_PARALLELISM"] = "false"
KINDS = ("gpt2", "smollm", "llama3", "qwen", "bert", "llama2")
WHO = ("ours", "theirs")


def paragraphs(data: Path | None) -> list[str]:
    """The text in pieces."""
    files = [data] if data else sorted([*ROOT.glob("*.md"), *(ROOT / "minillm").rglob("*.py")])
    return [part for file in files for part in file.read_text(encoding="utf-8").split("\n\n") if part]


def trained(kind: str, texts: list[str], vocab_size: int):
    """A tokenizer of a kind, as its family has it."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    from minillm.hub import LLAMA3, QWEN2

    more = {"vocab_size": vocab_size, "show_progress": False}
    if kind == "bert":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], **more)
    elif kind == "llama2":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=True)
        names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(special_tokens=names, limit_alphabet=500, **more)
    else:
        tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
        patterns = {"llama3": LLAMA3, "qwen": QWEN2}
        first = {"smollm": pre_tokenizers.Digits(individual_digits=True)}
        first |= {name: pre_tokenizers.Split(Regex(pattern), "isolated") for name, pattern in patterns.items()}
        bytes_last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind not in patterns)
        steps = [first[kind], bytes_last] if kind in first else [bytes_last]
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Sequence(steps), decoders.ByteLevel()
        tokenizer.normalizer = normalizers.NFC() if kind == "qwen" else None
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, **more)
    tokenizer.train_from_iterator(texts, trainer)
    if kind != "llama2":
        return tokenizer
    content = json.loads(tokenizer.to_str())  # as Llama 2's file: nothing cuts, and the tokens of bytes are not added
    steps = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    content |= {"pre_tokenizer": None, "normalizer": {"type": "Sequence", "normalizers": steps}}
    content["added_tokens"] = content["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(content))


def measure(name: str, args) -> dict:
    """One run in this process: load, then encode every paragraph."""
    import tokenizers

    from minillm.hub import read_tokenizer

    who, kind = name.split(":")
    texts = paragraphs(args.data)
    folder = args.folder or args.made / kind
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.no_truncation()
    theirs.no_padding()
    start = time.process_time()
    ours = read_tokenizer(folder)
    loaded = time.process_time() - start

    def by_ours() -> list[list[int]]:
        return [ours.encode(text, allow_special=True) for text in texts]

    def by_theirs() -> list[list[int]]:
        return [theirs.encode(text, add_special_tokens=False).ids for text in texts]

    encode, check = (by_ours, by_theirs) if who == "ours" else (by_theirs, by_ours)
    start = time.process_time()
    ids = encode()
    seconds = time.process_time() - start
    return {"seconds": seconds, "equal": ids == check(), "loaded": loaded, "characters": sum(map(len, texts))}


def show(runs: dict, args) -> dict:
    """Print the table; return what was measured and the ratio."""
    characters = next(iter(runs.values()))[0]["characters"]
    print(f"{characters / 1e6:.2f} million characters, median of {args.repeats} runs each")
    print(f"{'':10} {'ours, s':>8} {'theirs, s':>9} {'ratio':>6} {'ids':>10} {'our load, s':>12}")
    figures = {}
    for kind in kinds(args):
        ours, theirs = (median(runs[f"{who}:{kind}"], "seconds") for who in WHO)
        equal = all(run["equal"] for who in WHO for run in runs[f"{who}:{kind}"])
        loaded = median(runs[f"ours:{kind}"], "loaded")
        said = "equal" if equal else "DIFFERENT"
        print(f"{kind:10} {ours:8.3f} {theirs:9.3f} {ours / theirs:6.2f} {said:>10} {loaded:12.2f}")
        figures[kind] = {"ratio": ours / theirs, "equal": equal}
    return figures


def kinds(args) -> tuple[str, ...]:
    return ("folder",) if args.folder else KINDS


if __name__ == "__main__":
    parser = flags(__doc__, repeats=5)
    parser.add_argument("--data", type=Path, help="UTF-8 text file (default: the repository's own prose and code)")
    parser.add_argument("--vocab", type=int, default=8192, help="size of the vocabularies (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="measure the tokenizer of this folder")
    parser.add_argument("--made", type=Path, help=argparse.SUPPRESS)  # where the trained ones are
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        for kind in [] if args.run or args.folder else kinds(args):
            (Path(made) / kind).mkdir()
            trained(kind, paragraphs(args.data), args.vocab).save(f"{made}/{kind}/tokenizer.json")
        sys.argv += [] if args.run else ["--made", made]
        main(args, [f"{who}:{kind}" for kind in kinds(args) for who in WHO], measure, show)
