"""Write the text in this folder again: `python data/make.py [--size N] [--out DIR] [--seed N]`.

The files are the same to the byte on every machine. `--size N` makes N times as much training text; the validation text
stays as it is, and no validation document ever occurs in training. README.md, beside the files, is written with them.
Left out: the labelled tasks, which are made from the same world.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # so that it runs from any folder, without installing

from minillm import tales  # noqa: E402
from minillm.files import write_text  # noqa: E402

SEED = 1
# file: (how it is made, number of documents, what is in it)
FILES = {
    "tales_valid.txt": (tales.make_documents, 1_000, "the same mix, none of which occurs in training"),
    "tales_train.txt": (tales.make_documents, 16_000, "the text to pre-train on: nine tales to one in-context pattern"),
    "clinic_valid.txt": (tales.make_clinic, 300, "more of the same, none of which occurs in training"),
    "clinic_train.txt": (tales.make_clinic, 2_000, "a second domain with words of its own, for continued pre-training"),
}
README = """# The text that comes with minillm

Made by `data/make.py` (seed {seed}), the same to the byte on every machine; this page is written with it. The text is
minillm's own, under the licence of the project (MIT). It is ASCII, with a blank line between documents; inside one,
`\\n` ends a line.

| file | documents | bytes | nats per character | nats per document | what |
|---|---|---|---|---|---|
{rows}

Nats per character and per document are exact: minus the log-probability, under the world that wrote it, of the very
documents in the file, over their characters (blank lines between documents not counted) or their number. No model
can have a lower loss on average. `python data/make.py --size 10 --out DIR` makes ten times the training text.

| file | sha256 |
|---|---|
{sums}
"""


def fresh(make, n: int, seed: int, taken: set[str]) -> list:
    """`n` different documents, none of which is in `taken`; adds their texts to it."""
    found, extra = [], n
    while len(found) < n:  # patterns are short, so a few come twice
        found, seen = [], set(taken)
        for document in make(extra, seed):
            if document.text not in seen:
                seen.add(document.text)
                found.append(document)
        extra += extra // 10 + 1
    taken.update(document.text for document in found[:n])
    return found[:n]


def make_files(size: int = 1, seed: int = SEED) -> Iterable[tuple[str, list]]:
    """The name and the documents of each file, validation first, so that it does not depend on the size."""
    taken: set[str] = set()
    for name, (make, n, _) in FILES.items():
        valid = "valid" in name
        yield name, fresh(make, n if valid else n * size, 2 * seed + valid, taken)


def write_files(out: Path, size: int = 1, seed: int = SEED) -> None:
    """Write every file and the README into `out`, each whole or not at all."""
    rows, sums = [], []
    for name, documents in make_files(size, seed):
        text = "\n\n".join(document.text for document in documents) + "\n"
        write_text(out / name, text)
        nats = -sum(document.logprob + tales.log_share(document.kind) for document in documents)
        characters = sum(len(document.text) for document in documents)
        what = FILES[name][2]
        per_document = nats / len(documents)
        cells = f"`{name}` | {len(documents)} | {len(text)} | {nats / characters:.4f} | {per_document:.2f}"
        rows.append(f"| {cells} | {what} |")
        sums.append(f"| `{name}` | `{hashlib.sha256(text.encode()).hexdigest()}` |")
        print(f"{out / name}: {len(documents)} documents, {len(text):,} bytes")
    write_text(out / "README.md", README.format(seed=seed, rows="\n".join(rows), sums="\n".join(sums)))


def main() -> None:
    """Read the flags and write the files."""
    parser = argparse.ArgumentParser(description="Write the text in data/ again, the same to the byte.")
    parser.add_argument("--size", type=int, default=1, help="how many times as much training text (default: 1)")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder (default: data/)")
    parser.add_argument("--seed", type=int, default=SEED, help="another text (default: the seed of the committed one)")
    flags = parser.parse_args()
    if flags.size < 1:
        parser.error(f"--size {flags.size}: must be 1 or more")
    write_files(flags.out, flags.size, flags.seed)


if __name__ == "__main__":
    main()
