"""Does tuning a real model pay? MiniLM on film reviews and as an encoder, SmolLM2 on instructions and preferences.

    python benchmarks/real_models_tasks.py --minilm FOLDER --reviews FOLDER      full, head, LoRA, BitFit; three seeds
    python benchmarks/real_models_tasks.py --minilm FOLDER --instructions FILE   finding the answer to an instruction
    python benchmarks/real_models_tasks.py --smollm2 FILE --instructions FILE    LoRA: held-out loss and ROUGE-L
    python benchmarks/real_models_tasks.py --smollm2 FILE --preferences FILE     DPO on 100 pairs, 50 held out
    python benchmarks/real_models_tasks.py --show                                the tables again

FILE of instructions, and of preferences, is a list of {"instruction", "input", "output"}. A preference is for that
output, which is short, over what SmolLM2 itself answers, which is not.

FOLDER of reviews has train.tsv, dev.tsv and test.tsv, a text and a label a line (SST-2 there). Every run is a command
as a user would give it. A method's rate is the one whose first seed has the lowest validation loss; the test is
scored once for each seed and chooses nothing. What is in the JSON file is not run again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from side_by_side import ROOT

from minillm.hub import load
from minillm.inference import Question, ask
from minillm.metrics import SHARE, seed_interval
from minillm.system import write_json
from minillm.training import RunFolder

REVIEWS = {  # flags of each method, for each rate that is tried
    "full": [
        ("--learning-rate", "2e-4", "--matrix-learning-rate", "1e-3"),
        ("--learning-rate", "5e-4", "--matrix-learning-rate", "3e-3"),
    ],
    "head": [("--method", "head", "--learning-rate", rate) for rate in ("2e-3", "1e-2")],
    "lora": [("--method", "lora", "--adapter-learning-rate", rate) for rate in ("1e-3", "3e-3")],
    "bitfit": [("--method", "bitfit", "--adapter-learning-rate", rate) for rate in ("1e-3", "5e-3")],
}
PAIRS = {
    "full": [
        ("--learning-rate", "1e-4", "--matrix-learning-rate", "5e-4"),
        ("--learning-rate", "3e-4", "--matrix-learning-rate", "2e-3"),
    ],
    "lora": [("--method", "lora", "--adapter-learning-rate", rate) for rate in ("1e-3", "3e-3")],
}
PREFERENCES = {"lora": [("--method", "lora", "--adapter-learning-rate", rate) for rate in ("1e-4", "5e-4")]}
LEARNED, HELD_OUT = 100, 50  # preferences
INSTRUCTIONS = {
    "lora": [("--method", "lora", "--adapter-learning-rate", rate) for rate in ("3e-4", "1e-3")],
}


def run(command: list[str]) -> dict:
    """One command in a process of its own: what its metrics.json says, and the seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        out, begun = Path(folder) / "run", time.perf_counter()
        whole = [sys.executable, str(ROOT / "train.py"), *command, "--out", str(out)]
        done = subprocess.run(whole, capture_output=True, text=True, env=dict(os.environ))
        if done.returncode:
            raise SystemExit(f"{' '.join(whole)} failed: {done.stderr.strip().splitlines()[-1]}")
        metrics = RunFolder(out).metrics()
    kept = ("val_loss", "accuracy", "rouge_l", "bleu", "exact_match", "trainable_parameters", "peak_memory_bytes")
    kept += ("recall_at_1", "recall_at_5", "margin", "likelier", "likelier_before", "length", "length_before")
    scores = {key: metrics[key] for key in (*kept, "steps", "seconds", "baselines") if key in metrics}
    return scores | {"process_seconds": round(time.perf_counter() - begun, 1)}


def measure(found: dict, json_file: Path, name: str, command: list[str], methods: dict, seeds: int) -> None:
    """Every rate with the first seed, then the best rate with the others."""
    for method, rates in methods.items():
        for rate in rates:
            once(found, json_file, f"{name} {method} {' '.join(rate)} 0", [*command, *rate, "--seed", "0"])
        best = min(rates, key=lambda rate: found[f"{name} {method} {' '.join(rate)} 0"]["val_loss"])
        for seed in range(1, seeds):
            key = f"{name} {method} {' '.join(best)} {seed}"
            once(found, json_file, key, [*command, *best, "--seed", str(seed)])


def once(found: dict, json_file: Path, key: str, command: list[str]) -> None:
    """Run what is not there, and keep it at once."""
    if key not in found:
        found[key] = run(command)
        write_json(json_file, found)
        print(key, {name: value for name, value in found[key].items() if name != "baselines"}, flush=True)


def write_lines(file: Path, rows: list[dict]) -> str:
    """Rows as a .jsonl file; returns its name."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def pairs_of(instructions: Path, folder: Path) -> list[str]:
    """Instructions with their outputs as pairs of texts, a tenth to watch and a tenth to score: flags of encode."""
    rows = [
        {"text_a": f"{row['instruction']} {row['input']}".strip(), "text_b": row["output"]}
        for row in json.loads(instructions.read_text())
    ]
    parts = {"--valid": rows[0::10], "--test": rows[5::10]}
    parts = {"--data": [row for i, row in enumerate(rows) if i % 5], **parts}
    return [word for flag, some in parts.items() for word in (flag, write_lines(folder / f"{flag[2:]}.jsonl", some))]


def as_it_comes(minilm: Path, pairs: list[str]) -> dict:
    """The scores of MiniLM on the pairs, untuned: by its own folder, and by sentence-transformers where that is."""
    test = pairs[pairs.index("--test") + 1]
    command = [sys.executable, str(ROOT / "train.py"), "eval", "--from", str(minilm), "--data", test]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout), "theirs": theirs(minilm, Path(test))}


def theirs(minilm: Path, test: Path) -> dict | None:
    """The same scores from sentence-transformers' vectors, and the largest difference of a cosine from ours."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return None
    rows = [json.loads(line) for line in test.read_text().splitlines()]
    texts = [row[name] for row in rows for name in ("text_a", "text_b")]
    vectors = torch.tensor(SentenceTransformer(str(minilm)).encode(texts, normalize_embeddings=True))
    with tempfile.TemporaryDirectory() as folder:
        asked, out = write_lines(Path(folder) / "a.jsonl", [{"text": text} for text in texts]), Path(folder) / "b.jsonl"
        command = [sys.executable, str(ROOT / "train.py"), "predict", "--from", str(minilm), "--data", asked]
        subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
        ours = torch.tensor([json.loads(line)["vector"] for line in out.read_text().splitlines()])
    cosines, own = vectors[0::2] @ vectors[1::2].T, ours[0::2] @ ours[1::2].T
    hits = (cosines.argmax(1) == torch.arange(len(cosines))).float().mean()
    return {"recall_at_1": float(hits), "largest_difference": float((cosines - own).abs().max())}


def preferences_of(smollm2: Path, instructions: Path, folder: Path) -> list[str]:
    """Outputs preferred to SmolLM2's own answers, some held out: flags of dpo."""
    model, tokenizer = load(smollm2)
    rows = json.loads(instructions.read_text())[: LEARNED + HELD_OUT]
    asked = [f"{row['instruction']}\n{row['input']}".strip() for row in rows]
    questions = [Question([{"role": "user", "content": text}], row["output"]) for text, row in zip(asked, rows)]
    answers = ask(model, tokenizer, questions, progress=True)
    pairs = [
        {"prompt": text, "chosen": row["output"], "rejected": answer}
        for text, row, answer in zip(asked, rows, answers)
        if answer.strip() and answer.strip() != row["output"].strip()
    ]
    parts = {"--data": pairs[:LEARNED], "--valid": pairs[LEARNED:], "--test": pairs[LEARNED:]}
    return [word for flag, some in parts.items() for word in (flag, write_lines(folder / f"{flag[2:]}.jsonl", some))]


def table(found: dict, name: str, methods: dict, score: str) -> None:
    """A row for each method: its chosen rate, and the score of every seed."""
    print(f"| {name} | chosen | learn | {score} | seconds, whole process |\n|---|---|---|---|---|")
    for method, rates in methods.items():
        tried = {rate: found.get(f"{name} {method} {' '.join(rate)} 0") for rate in rates}
        if not all(tried.values()):
            continue
        best = min(rates, key=lambda rate: tried[rate]["val_loss"])
        rows = [row for key, row in found.items() if key.startswith(f"{name} {method} {' '.join(best)} ")]
        values = ", ".join(f"{row[score]:.3f}" for row in rows)
        mean = f"; {seed_interval([row[score] for row in rows], SHARE)}" if len(rows) > 1 else ""
        seconds = sorted(row["process_seconds"] for row in rows)
        learn = f"{rows[0]['trainable_parameters']:,}"
        print(f"| {method} | {' '.join(best)} | {learn} | {values}{mean} | {seconds[0]:.0f} to {seconds[-1]:.0f} |")
    before = next((row["baselines"] for key, row in found.items() if key.startswith(name) and "baselines" in row), {})
    print({kind: scores.get(score) for kind, scores in before.items()})


def main() -> None:
    """Run what is asked for and missing, then show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("minilm", "reviews", "smollm2", "instructions", "preferences"):
        parser.add_argument(f"--{flag}", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", default="2", help="passes over the reviews")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "real_models_tasks.json", metavar="FILE")
    parser.add_argument("--show", action="store_true", help="run nothing")
    flags = parser.parse_args()
    found = json.loads(flags.json.read_text()) if flags.json.exists() else {}
    if flags.minilm and flags.reviews and not flags.show:
        train, dev, test = (str(flags.reviews / f"{part}.tsv") for part in ("train", "dev", "test"))
        command = ["classify", "--from", str(flags.minilm), "--data", train, "--valid", dev, "--test", test]
        measure(found, flags.json, "reviews", [*command, "--epochs", flags.epochs], REVIEWS, flags.seeds)
    with tempfile.TemporaryDirectory() as folder:
        if flags.minilm and flags.instructions and not flags.show:
            pairs = pairs_of(flags.instructions, Path(folder))
            found.setdefault("pairs as it comes", as_it_comes(flags.minilm, pairs))
            command = ["encode", "--from", str(flags.minilm), *pairs, "--epochs", "2"]
            measure(found, flags.json, "pairs", command, PAIRS, flags.seeds)
        if flags.smollm2 and flags.preferences and not flags.show:
            pairs = preferences_of(flags.smollm2, flags.preferences, Path(folder))
            command = ["dpo", "--from", str(flags.smollm2), *pairs, "--epochs", "2"]
            measure(found, flags.json, "preferences", command, PREFERENCES, flags.seeds)
    if flags.smollm2 and flags.instructions and not flags.show:
        command = ["sft", "--from", str(flags.smollm2), "--data", str(flags.instructions), "--epochs", "1"]
        measure(found, flags.json, "instructions", command, INSTRUCTIONS, flags.seeds)
    table(found, "reviews", REVIEWS, "accuracy")
    table(found, "instructions", INSTRUCTIONS, "rouge_l")
    table(found, "pairs", PAIRS, "recall_at_1")
    table(found, "preferences", PREFERENCES, "likelier")
    print(found.get("pairs as it comes"))


if __name__ == "__main__":
    main()
