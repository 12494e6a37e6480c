"""Write the text in this folder again: `python data/make.py [--size N] [--out DIR] [--seed N]`.

The files are the same to the byte on every machine. `--size N` makes N times as much to train on; what is for
validation and tests stays as it is, and none of it ever occurs in training. README.md is written with them, and so is
the manifest by which `minillm.tales.data_file` knows them: into the package, or with --out beside the files.
"""

import argparse
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(DATA.parent))  # so that it runs from any folder, without installing

from minillm.system import write_json, write_text  # noqa: E402
from minillm.tales import logprob  # noqa: E402
from minillm.tales.files import FILE_GROUPS, MANIFEST, SEED, make_group, sha256  # noqa: E402

WHAT = {  # is in a text file, or in those of a task
    "tales_valid.txt": "the same mix, none of which occurs in training",
    "tales_train.txt": "the text to pre-train on: nine tales to one in-context pattern",
    "clinic_valid.txt": "more of the same, none of which occurs in training",
    "clinic_train.txt": "a second domain with words of its own, for continued pre-training",
    "sentiment": "`text`, `label`: how it ends for the one whom it is about, `happy` or `sad`",
    "tags": "`tokens`, `tags`: what each word names, in BIO; the test has names that training has not",
    "next_sentence": "`text_a`, `text_b`, `label`: whether the second can follow the first, `next` or `not_next`",
    "entailment": "`text_a`, `text_b`, `label`: the first `entails` or `contradicts` the second, or is `neutral`",
    "paraphrases": "`text_a`, `text_b`: the same told twice; in the test with `score`, the share that is the same",
    "instructions": "`messages`, `kinds`: a tale and questions about it, turn by turn, with what kind of question "
    "each is",
    "passages": "the same about a few sentences of a tale: easier, to learn from beside `instructions`",
    "letters": "`messages`, `kinds`: a tale and a letter to its hero, good or bad, then questions about the letter",
    "preferences": "`prompt`, `chosen`, `rejected`: two such letters; annotators chose, who are biased towards length "
    "and flattery but in the test; and the truth, `chosen_score`, `chosen_features`, `rejected_...`",
    "prompts": "`prompt`: a tale that asks for a letter",
}
README = """# The text that comes with minillm

Made by `data/make.py` (seed {seed}), the same to the byte on every machine; this page is written with it. The text is
minillm's own, under the licence of the project (MIT). It is ASCII, with a blank line between documents; inside one,
`\\n` ends a line.

What is read and scored is here: the files for validation and tests. Those to train on, `*_train.*`, are made when they
are first needed, in seconds each, and checked against the sums below. They are written into this folder; where minillm
is installed without one, into a folder for caches; and where `MINILLM_DATA` is set, into the folder that it names.

| file | documents | bytes | nats per character | nats per document | what |
|---|---|---|---|---|---|
{rows}

Nats per character and per document are exact: minus the log-probability, under the world that wrote it, of the very
documents in the file, over their characters (blank lines between documents not counted) or their number. No model
can have a lower loss on average. `python data/make.py --size 10 --out DIR` makes ten times as much to train on.

## Tasks

Examples from the same world, a JSON record a line, each task in three files: TASK`_train.jsonl`, `_valid` and `_test`.
Every label follows from the state of the world and is made so that words alone do not give it away; what is asked, how
the wrong answers are made, and what is left out is told in
`minillm/tales/tasks.py`, `pairs.py`, `instructions.py`, `letters.py` and `preferences.py`. No text of a test or
validation file occurs in another file, and none is in `tales_valid.txt`.

| task | examples (test, valid, train) | bytes | what |
|---|---|---|---|
{tasks}

## Checksums

| file | sha256 |
|---|---|
{sums}
"""


def row(name: str, text: str) -> str:
    """What the README says of a text file."""
    documents = text.removesuffix("\n").split("\n\n")
    nats, characters = -sum(map(logprob, documents)), sum(map(len, documents))
    cells = f"`{name}` | {len(documents)} | {len(text)} | {nats / characters:.4f} | {nats / len(documents):.2f}"
    return f"| {cells} | {WHAT[name]} |"


def write_files(out: Path, size: int = 1, seed: int = SEED) -> None:
    """Write every file, the README and the manifest, each whole or not at all."""
    rows, tasks, manifest = [], [], {}
    for group, about in FILE_GROUPS.items():
        files = {}
        for name, text in make_group(group, size, seed):
            write_text(out / name, text)
            files[name] = {"bytes": len(text), "sha256": sha256(text)}
            print(f"{out / name}: {len(text):,} bytes")
            if about.is_text:
                rows.append(row(name, text))
        if not about.is_text:
            numbers = ", ".join(str(n * size if split == "train" else n) for split, n in about.numbers.items())
            total = sum(file["bytes"] for file in files.values())
            tasks.append(f"| `{group}` | {numbers} | {total} | {WHAT[group]} |")
        manifest |= files
    sums = [f"| `{name}` | `{file['sha256']}` |" for name, file in manifest.items()]
    readme = README.format(seed=seed, rows="\n".join(rows), tasks="\n".join(tasks), sums="\n".join(sums))
    write_text(out / "README.md", readme)
    write_json(MANIFEST if out == DATA else out / MANIFEST.name, manifest)


def main() -> None:
    """Read the flags and write the files."""
    parser = argparse.ArgumentParser(description="Write the text in data/ again, the same to the byte.")
    parser.add_argument("--size", type=int, default=1, help="how many times as much training text (default: 1)")
    parser.add_argument("--out", type=Path, default=DATA, help="folder (default: data/)")
    parser.add_argument("--seed", type=int, default=SEED, help="another text (default: the seed of the usual one)")
    flags = parser.parse_args()
    if flags.size < 1:
        parser.error(f"--size {flags.size}: must be 1 or more")
    write_files(flags.out.resolve(), flags.size, flags.seed)


if __name__ == "__main__":
    main()
