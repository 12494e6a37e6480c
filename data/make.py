"""Write the text in this folder again: `python data/make.py [--size N] [--out DIR] [--seed N]`.

The files are the same to the byte on every machine. `--size N` makes N times as much to train on; what is for
validation and tests stays as it is, and none of it ever occurs in training. README.md, beside the files, is written
with them.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # so that it runs from any folder, without installing

from minillm import tales  # noqa: E402
from minillm.system import write_text  # noqa: E402

SEED = 1
# file: (how it is made, number of documents, what is in it)
FILES = {
    "tales_valid.txt": (tales.make_documents, 1_000, "the same mix, none of which occurs in training"),
    "tales_train.txt": (tales.make_documents, 16_000, "the text to pre-train on: nine tales to one in-context pattern"),
    "clinic_valid.txt": (tales.make_clinic, 300, "more of the same, none of which occurs in training"),
    "clinic_train.txt": (tales.make_clinic, 2_000, "a second domain with words of its own, for continued pre-training"),
}
SPLITS = ("test", "valid", "train")
HELD_OUT = {"test": 500, "valid": 200}  # examples of each task, but for
FEWER = {  # conversations of five answers each, and what is long
    "instructions": {"test": 200, "valid": 100},
    "letters": {"test": 100, "valid": 60},
    "preferences": {"test": 400, "valid": 200},
    "prompts": {"test": 200, "valid": 100},
}
# task: (how it is made, examples to train on, what is different in the test, what is in it)
TASKS = {
    "sentiment": (
        tales.make_sentiment,
        3_000,
        {},
        "`text`, `label`: how it ends for the one whom it is about, `happy` or `sad`",
    ),
    "tags": (
        tales.make_tags,
        2_000,
        {"new_names": True},
        "`tokens`, `tags`: what each word names, in BIO; the test has names that training has not",
    ),
    "next_sentence": (
        tales.make_next_sentence,
        6_000,
        {},
        "`text_a`, `text_b`, `label`: whether the second can follow the first, `next` or `not_next`",
    ),
    "entailment": (
        tales.make_entailment,
        6_000,
        {},
        "`text_a`, `text_b`, `label`: the first `entails` or `contradicts` the second, or is `neutral`",
    ),
    "paraphrases": (
        tales.make_paraphrases,
        3_000,
        {"scored": True},
        "`text_a`, `text_b`: the same told twice; in the test with `score`, the share that is the same",
    ),
    "instructions": (
        tales.make_instructions,
        3_000,
        {},
        "`messages`, `kinds`: a tale and questions about it, turn by turn, with what kind of question each is",
    ),
    "letters": (
        tales.make_letters,
        3_000,
        {},
        "`messages`, `kinds`: a tale and a letter to its hero, good or bad, then questions about the letter",
    ),
    "preferences": (
        tales.make_preferences,
        4_000,
        {"biased": False},
        "`prompt`, `chosen`, `rejected`: two such letters; people chose, who like length and flattery but in the test; "
        "and the truth, `chosen_score`, `chosen_features`, `rejected_...`",
    ),
    "prompts": (tales.make_prompts, 1_000, {}, "`prompt`: a tale that asks for a letter"),
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
can have a lower loss on average. `python data/make.py --size 10 --out DIR` makes ten times as much to train on.

## Tasks

Examples from the same world, a JSON record a line, each task in three files: TASK`_train.jsonl`, `_valid` and `_test`.
Every label follows from the state of the world and is made so that words alone do not give it away; what is asked, how
the wrong answers are made, and what is left out is told in
`minillm/tales/tasks.py`, `pairs.py`, `instructions.py`, `letters.py` and `preferences.py`. No text of a test or
validation file occurs in another file, and none is in `tales_valid.txt`.

| task | examples ({splits}) | bytes | what |
|---|---|---|---|
{tasks}

## Checksums

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


def first_text(example: dict) -> str:
    """What an example is about, which must not occur in two files: its only text, or the first of several."""
    if "messages" in example or "prompt" in example:
        return (example.get("prompt") or example["messages"][0]["content"]).split("\n\n")[0]
    return example.get("text_a") or example.get("text") or " ".join(example["tokens"])


def make_task(task: str, split: str, n: int, seed: int, taken: set[str]) -> list[dict]:
    """`n` different examples of a task, none of whose texts is in `taken`; adds their texts to it."""
    make, _, of_test, _ = TASKS[task]
    extra = n
    while True:
        drawn = make(extra, len(SPLITS) * seed + SPLITS.index(split), **(of_test if split == "test" else {}))
        new = {json.dumps(example): example for example in drawn if first_text(example) not in taken}
        if len(new) >= n:
            break
        extra += n // 10 + 1
    found = list(new.values())[:n]
    taken.update(map(first_text, found))
    return found


def number(task: str, split: str, size: int = 1) -> int:
    """How many examples a file has."""
    return (HELD_OUT | FEWER.get(task, {})).get(split) or TASKS[task][1] * size


def make_tasks(size: int = 1, seed: int = SEED) -> Iterable[tuple[str, list[dict]]]:
    """The name and the examples of each file, test first, so that it does not depend on the size."""
    for task in TASKS:
        taken: set[str] = set()
        for split in SPLITS:
            yield f"{task}_{split}.jsonl", make_task(task, split, number(task, split, size), seed, taken)


def write_files(out: Path, size: int = 1, seed: int = SEED) -> None:
    """Write every file and the README into `out`, each whole or not at all."""
    rows, tasks, sums = [], dict.fromkeys(TASKS, 0), []

    def write(name: str, text: str, what: str) -> None:
        write_text(out / name, text)
        sums.append(f"| `{name}` | `{hashlib.sha256(text.encode()).hexdigest()}` |")
        print(f"{out / name}: {what}, {len(text):,} bytes")

    for name, documents in make_files(size, seed):
        text = "\n\n".join(document.text for document in documents) + "\n"
        write(name, text, f"{len(documents)} documents")
        nats = -sum(document.logprob + tales.log_share(document.kind) for document in documents)
        characters = sum(len(document.text) for document in documents)
        cells = f"`{name}` | {len(documents)} | {len(text)} | {nats / characters:.4f} | {nats / len(documents):.2f}"
        rows.append(f"| {cells} | {FILES[name][2]} |")
    for name, examples in make_tasks(size, seed):
        text = "".join(json.dumps(example, separators=(",", ":")) + "\n" for example in examples)
        write(name, text, f"{len(examples)} examples")
        tasks[name.rsplit("_", 1)[0]] += len(text)
    table = []
    for task, total in tasks.items():
        numbers = ", ".join(str(number(task, split, size)) for split in SPLITS)
        table.append(f"| `{task}` | {numbers} | {total} | {TASKS[task][-1]} |")
    readme = README.format(
        seed=seed, rows="\n".join(rows), splits=", ".join(SPLITS), tasks="\n".join(table), sums="\n".join(sums)
    )
    write_text(out / "README.md", readme)


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
