"""Bad data files: a good small file of each form, damaged somehow, given to every command that reads one.

It is read, or refused in one sentence with exit status 2, within seconds; a refusal leaves nothing in --out, and no
attack changes a file. `ATTACKS=1000 pytest -m attack tests/attack/test_bad_data.py`; ATTACK_SEED chooses others.
"""

import csv
import io
import json
import os
import random
from pathlib import Path

import pytest
from inside import STEPS, TINY, tried

from minillm.cli.flags import program

pytestmark = pytest.mark.attack
ATTACKS, SEED = int(os.environ.get("ATTACKS", "80")), int(os.environ.get("ATTACK_SEED", "0"))
LONGEST_SENTENCE = 1200  # characters
NUMBERS = range(12)
SIDES = ("a", "b")

# Records of every form, by what reads them.

TEXTS = [{"text": f"say something kind, number {i}: you are good"} for i in range(60)]
LABELLED = [{"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": i % 2} for i in NUMBERS]
PAIRS = [{"text_a": f"a {i}", "text_b": f"b {i}", "label": "x" if i % 2 else "y"} for i in NUMBERS]
SCORED = [{"text_a": f"a {i}", "text_b": f"b {i}", "score": i / 12} for i in NUMBERS]
TAGGED = [{"tokens": ["Mira", f"sat{i}"], "tags": ["B-PER", "O"]} for i in NUMBERS]
PREFERENCES = [{"prompt": f"say {i}", "chosen": f"you {i}", "rejected": f"bad {i}"} for i in NUMBERS]
ANSWERS = [{"prompt": f"say {i}", "answer": f"you {i}"} for i in NUMBERS]
PROMPTS = [{"prompt": f"say {i}"} for i in NUMBERS]


def said(role: str, text: str) -> dict:
    return {"role": role, "content": text}


CHATS = {
    "prompts": [{"prompt": f"say {i}", "completion": f"you are {i}"} for i in NUMBERS],
    "alpaca": [{"instruction": "say", "input": f"{i}", "output": [f"you are {i}", "so"]} for i in NUMBERS],
    "messages": [{"messages": [said("user", f"say {i}"), said("assistant", f"you {i}")]} for i in NUMBERS],
    "sharegpt": [
        {"conversations": [{"from": "human", "value": f"say {i}"}, {"from": "gpt", "value": f"you {i}"}]}
        for i in NUMBERS
    ],
}
CHOICES = {
    "preferences": PREFERENCES,
    "messages": [
        {key: [said("user", f"say {i}"), said("assistant", f"{key} {i}")] for key in ("chosen", "rejected")}
        for i in NUMBERS
    ],
    "hh": [{key: f"\n\nHuman: say {i}\n\nAssistant: {key} {i}" for key in ("chosen", "rejected")} for i in NUMBERS],
}
RECORDS = (".jsonl", ".json", ".csv", ".tsv")
COLUMNS = (".conll", ".conllu", ".txt", ".tsv")


def as_columns(rows: list[dict], suffix: str) -> str:
    """Tagged words, a word a line."""
    if suffix == ".conllu":
        lines = (
            ("# text = x", *(f"{k}\t{w}\t_\t{t}\t_\t_\t0\t_\t_\t_" for k, (w, t) in enumerate(words, 1)))
            for words in pairs(rows)
        )
    else:
        lines = (tuple(f"{w}\t{t}" for w, t in words) for words in pairs(rows))
    return "\n\n".join("\n".join(some) for some in lines) + "\n"


def pairs(rows: list[dict]) -> list[list[tuple]]:
    return [list(zip(row["tokens"], row["tags"])) for row in rows]


def as_file(rows: list, suffix: str) -> bytes:
    """Records, whatever has become of them, as a file of a form."""
    if suffix == ".json":
        return json.dumps(rows, indent=1).encode()
    if suffix == ".txt":
        return "\n\n".join(str(row.get("text")) if isinstance(row, dict) else str(row) for row in rows).encode(
            errors="replace"
        )
    if suffix == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    file = io.StringIO()
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    table = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
    table.writerow(names)
    for row in rows:
        cells = [row.get(name) for name in names] if isinstance(row, dict) else [row]
        table.writerow([json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in cells])
    return file.getvalue().encode(errors="replace")


# What a command is given. OUT: where it writes; DATA: the damaged file.

TRAIN, LM = ["--out", "OUT"], ["--context", "16", *TINY]
COMMANDS = {  # the forms that it reads, the command, and its flag for the file
    "pretrain": ({".txt": TEXTS, **dict.fromkeys(RECORDS, TEXTS)}, ["pretrain", *LM, *TRAIN]),
    "pretrain-book": ({".txt": TEXTS, ".jsonl": TEXTS}, ["pretrain", "--documents", "file", *LM, *TRAIN]),
    "bigram": ({".txt": TEXTS, **dict.fromkeys(RECORDS, TEXTS)}, ["bigram", *LM, *TRAIN]),
    "characters": ({".txt": TEXTS, ".jsonl": TEXTS}, ["pretrain", *LM, "--tokenizer", "characters", *TRAIN]),
    "mlm": ({".txt": TEXTS, **dict.fromkeys(RECORDS, TEXTS)}, ["mlm", *LM, *TRAIN]),
    "mlm-next": ({".txt": TEXTS}, ["mlm", *LM, "--next-sentence", *TRAIN]),
    "classify": (dict.fromkeys(RECORDS, LABELLED), ["classify", *TINY, *TRAIN]),
    "pair": (dict.fromkeys(RECORDS, PAIRS), ["pair", "--from", "mlm", *STEPS, *TRAIN]),
    "encode": (dict.fromkeys(RECORDS, SCORED), ["encode", *TINY, *TRAIN]),
    "tag": (dict.fromkeys((*RECORDS, *COLUMNS), TAGGED), ["tag", *TINY, *TRAIN]),
    "sft": (dict.fromkeys(RECORDS, CHATS), ["sft", "--from", "pretrain", *STEPS, *TRAIN]),
    "reward": (dict.fromkeys(RECORDS, CHOICES), ["reward", "--from", "sft", *STEPS, *TRAIN]),
    "dpo": (dict.fromkeys(RECORDS, CHOICES), ["dpo", "--from", "sft", *STEPS, *TRAIN]),
    "ppo": (
        dict.fromkeys(RECORDS, PROMPTS),
        "ppo --from sft --reward reward --batch-size 4 --minibatch-size 2 --rounds 1 --max-new-tokens 4 --dtype fp32 "
        "--device cpu --out OUT".split(),
    ),
    "eval": ({".txt": TEXTS, **dict.fromkeys(RECORDS, TEXTS)}, ["eval", "--from", "pretrain", "--out", "OUT"]),
    **{
        f"eval-{name}": (forms, ["eval", "--from", name, "--out", "OUT"])
        for name, forms in {
            "classify": dict.fromkeys(RECORDS, LABELLED),
            "pair": dict.fromkeys(RECORDS, PAIRS),
            "tag": dict.fromkeys((*RECORDS, *COLUMNS), TAGGED),
            "encode": dict.fromkeys(RECORDS, SCORED),
            "reward": dict.fromkeys(RECORDS, CHOICES),
        }.items()
    },
    **{
        f"predict-{name}": (dict.fromkeys(RECORDS, rows), ["predict", "--from", name, "--out", "OUT"])
        for name, rows in (
            ("classify", LABELLED), ("pair", PAIRS), ("tag", TAGGED), ("encode", TEXTS), ("reward", ANSWERS)
        )
    },
}  # fmt: skip
PARTS = ("--data", "--data", "--data", "--valid", "--test")  # of what learns from records


# Damages

VALUES = (
    None,
    "",
    " ",
    0,
    -1,
    10**400,
    1e308,
    float("nan"),
    float("-inf"),
    True,
    [],
    {},
    [[]],
    [None],
    {"a": {}},
    "\0",
)
VALUES += ("\ud800", "x" * 100_000, "\x1b[2J", "\u2028", ["a", 1], [{}], [{"role": "user"}], "🙂" * 999, "a\tb\nc", '"')


def deep(n: int = 100_000) -> str:
    return "[" * n + "]" * n


def change_rows(rows: list, rng: random.Random) -> list:
    """Change records: one, some or all of them."""
    rows = json.loads(json.dumps(rows))
    for place in rng.sample(range(len(rows)), rng.choice((1, 2, len(rows) // 2, len(rows)))):
        row, how = rows[place], rng.randrange(7)
        name = rng.choice(list(row))
        if how == 0:
            del row[name]
        elif how == 1:
            rows[place] = rng.choice(VALUES)
        elif how == 2:
            row[f"{name}s"] = row.pop(name)
        elif how == 3:
            row["more"] = rng.choice(VALUES)
        elif how == 4 and isinstance(row[name], list) and row[name]:
            row[name][rng.randrange(len(row[name]))] = rng.choice(VALUES)
        else:
            row[name] = rng.choice(VALUES)
    return rows


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """What editors, disks and other systems make of a file."""
    at = rng.randrange(len(content) + 1)
    text, lines = content.decode(errors="replace"), content.split(b"\n")
    line = rng.randrange(len(lines))
    put = lambda more: content[:at] + more + content[at:]  # noqa: E731
    return rng.choice(
        (
            lambda: b"",
            lambda: b" \n\t\n",
            lambda: content[:at],
            lambda: put(b"\0"),
            lambda: put(b"\xff\xfe"),
            lambda: put(rng.randbytes(20)),
            lambda: put(b'"'),
            lambda: put(b"\x1b[31m\x07"),
            lambda: put(b"\xef\xbb\xbf"),
            lambda: b"\xef\xbb\xbf" + content,
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-16-le"),
            lambda: text.encode("utf-32"),
            lambda: ("é" + text).encode("latin-1", "replace"),
            lambda: content.replace(b"\n", b"\r"),
            lambda: content.replace(b"\n", b"\r\n", 3),
            lambda: content.replace(b"\n", "\u2028".encode(), 2),
            lambda: content.replace(b" ", b"\x0b"),
            lambda: content[:at] + deep().encode() + content[at:],
            lambda: b"\n".join([*lines[:line], b'{"a": ' * 50_000, *lines[line:]]),
            lambda: b"\n".join([*lines[:line], b'{"text": "a", "text": 3, "label": 1, "label": 2}', *lines[line:]]),
            lambda: b"\n".join([*lines[:line], b'{"text": "\\ud800", "label": NaN}', *lines[line:]]),
            lambda: b"\n".join([*lines[:line], b'{"text": "a", "label": 1' + b"0" * 5000 + b"}", *lines[line:]]),
            lambda: b"\n".join([*lines[:line], *lines[line + 1 :]]),
            lambda: b"\n".join(lines[:1]),
            lambda: b"\n".join(lines[1:]),
            lambda: b"\n".join(rng.sample(lines, len(lines))),
            lambda: content + content,
            lambda: content * 3 + content[:at],
            lambda: bytes(len(content)),
            lambda: rng.randbytes(300),
            lambda: b"null",
            lambda: b"{}",
            lambda: b'{"data": ' + content + b"}",
            lambda: content.replace(b",", b";").replace(b"\t", b","),
            lambda: b",,,,\n" + content,
            lambda: content.replace(b"\n", b"\n\n"),
            lambda: b"a" * 50_000 + content,
            lambda: (b" " * 50_000).join(content.split(b" ", 2)),
            lambda: b"<html><body>" + content + b"</body></html>",
        )
    )()


def put(path: Path, content: bytes, rng: random.Random) -> str:
    """Put a file in its place, or something that is none. Returns: its name."""
    how = rng.randrange(90)
    if how == 0:
        path.mkdir()
    elif how == 1:
        os.mkfifo(path)
    elif how == 2:
        path.symlink_to(path)
    elif how == 3:
        path.symlink_to(path.with_name("nowhere"))
    elif how == 4:
        path.write_bytes(content)
        path.chmod(0)
    elif how == 5:
        path.symlink_to("/dev/zero")
    elif how == 6:
        path.write_bytes(content)
        return f"{path}/x"
    elif how == 7:
        return f"{path}"  # nothing there
    elif how == 8:
        other = path.with_suffix(rng.choice((".jsonl", ".csv", ".tsv", ".txt", ".json", ".parquet", "", ".JSONL")))
        other.write_bytes(content)
        return str(other)
    else:
        path.write_bytes(content)
    return str(path)


def attack(name: str, rng: random.Random, folder: Path) -> tuple[list[str], str]:
    """A command line with a bad file, and what is bad about it."""
    forms, command = COMMANDS[name]
    suffix = rng.choice(list(forms))
    rows = forms[suffix]
    if isinstance(rows, dict):
        rows = rng.choice(list(rows.values()))
    columns = name.endswith("tag") and suffix in COLUMNS and (suffix != ".tsv" or rng.random() < 0.5)
    whole = as_columns(rows, suffix).encode() if columns else as_file(rows, suffix)
    content = whole
    if not columns and rng.random() < 0.5:
        content = as_file(change_rows(rows, rng), suffix)
    else:
        for _ in range(rng.choice((1, 1, 2))):
            content = change_bytes(content, rng)
    good = folder / f"good{suffix}"
    good.write_bytes(whole)
    bad = put(folder / f"bad{suffix}", content, rng)
    line = [str(folder / "out") if word == "OUT" else word for word in command]
    trains = name.split("-")[0] not in ("eval", "predict", "bigram", "pretrain", "mlm", "characters")
    part = rng.choice(PARTS) if trains and name != "ppo" else "--data"
    return [*line, part, bad, *([] if part == "--data" else ["--data", str(good)])], f"{bad}: {content[:300]!r}"


@pytest.mark.parametrize("number", range(ATTACKS))
def test_a_bad_file_is_read_or_refused_in_a_sentence_and_leaves_nothing(number, world, short_lives, tmp_path, capsys):
    rng = random.Random(SEED * 1_000_003 + number)
    name = sorted(COMMANDS)[number % len(COMMANDS)]
    line, what = attack(name, rng, tmp_path)
    kept = {path: path.read_bytes() for path in [*world.rglob("*"), *tmp_path.rglob("*")] if path.is_file()}
    status, error = tried(line, capsys)
    assert status in (0, 2), (status, line, what, error[-2000:])
    assert "Traceback" not in error and "did not expect" not in error, (line, what, error[-3000:])
    if status == 2:
        last = [part for part in error.replace("\r", "\n").splitlines() if part.strip()][-1]
        assert last.startswith(f"{program().split()[-1]}: ") and len(last) < LONGEST_SENTENCE, (line, what, last)
        assert not (tmp_path / "out").exists(), (line, what, error[-2000:])
    assert "\x1b" not in error and "\0" not in error, (line, what)
    new = {path for path in [*world.rglob("*"), *tmp_path.rglob("*")] if path.is_file()} - kept.keys()
    assert all(path.is_relative_to(tmp_path / "out") for path in new), (line, new)
    assert all(path.read_bytes() == content for path, content in kept.items()), line
