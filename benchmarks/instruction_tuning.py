"""How many conversations make an assistant? Answers by number of conversations, and by what the loss counts.

    python train.py
    python benchmarks/instruction_tuning.py --json FILE
    python benchmarks/instruction_tuning.py --sizes 100 1000 --seeds 0 --steps 3000 --json FILE
    python benchmarks/instruction_tuning.py --sizes 1000 --learn everything --json FILE

The base model is tuned on N conversations of data/instructions_train.jsonl with the rates of `train.py sft`, each run
with the same number of steps, and the last weights are kept. An answer is scored twice: is it right, and has it the
form of an answer to its kind of question (one name, yes or no, ...)? (Zhou et al. 2023, "LIMA", say that form is what
tuning teaches.)
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import torch

from minillm import tales
from minillm.cli import SFTSettings, build, questions_in, tuning_config
from minillm.course import default_run
from minillm.data import Padded, Windows, conversation_example, read_conversations, tokenize
from minillm.hub import load_model
from minillm.inference import Question, ask, right
from minillm.metrics import seed_interval
from minillm.system import pick_device, read_json, seed_everything, write_json
from minillm.tales import data_file, load_documents
from minillm.text import Tokenizer
from minillm.training import causal_lm, fit, mean_loss

NAME, SENTENCE = r"(?:M\w+ )?[A-Z]\w+", r"[A-Z].*\."
FORMS = {  # what an answer of a kind looks like, right or wrong
    "who": NAME,
    "where": r"in the \w+",
    "what": r"an? \w+|\w+ \w+",
    "when": r"\w+",
    "yes or no": "yes|no",
    "list": rf"{NAME}, {NAME}|{NAME}, (happy|sad); {NAME}, (happy|sad)",
    "owner": NAME,
    "feeling": "happy|sad",
    "tense": SENTENCE,
    "ending": SENTENCE,
    "format": rf"{NAME}: \w+, \w+",
    "refuse": re.escape(tales.instructions.REFUSAL),
}


def scores(questions: list[Question], answers: list[str]) -> dict[str, dict[str, float]]:
    """Of each kind with one right answer: the number of questions, and the shares that are right and in form."""
    found = defaultdict(list)
    for question, answer in zip(questions, answers):
        if question.kind in FORMS:
            form = re.fullmatch(FORMS[question.kind], answer) is not None
            found[question.kind].append((right(question, answer), form))
    return {
        kind: {"n": len(rows), **{name: sum(x) / len(rows) for name, x in zip(("right", "form"), zip(*rows))}}
        for kind, rows in sorted(found.items())
    }


def overall(kinds: dict[str, dict], key: str) -> float:
    """A share over all questions."""
    return sum(row[key] * row["n"] for row in kinds.values()) / sum(row["n"] for row in kinds.values())


def main() -> None:
    """Tune on every number of conversations with every seed, and write what came out after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 3000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=500, help="of 4 conversations")
    parser.add_argument("--learn", nargs="+", default=["answers"], choices=["answers", "everything"])
    parser.add_argument("--json", type=Path, help="runs that it holds are kept, and not run again")
    flags = parser.parse_args()
    start, compute = default_run(), pick_device("cpu", "fp32")
    tokenizer = Tokenizer.load(start.path / "tokenizer.json")
    train, test = (read_conversations(data_file(f"instructions_{part}.jsonl")) for part in ("train", "test"))
    questions = questions_in(test)
    windows = Windows(tokenize(load_documents("tales_valid.txt")[:200], tokenizer), 256, 16)

    def measure(size: int, seed: int, learn: str) -> dict:
        settings = build(SFTSettings, {"max_steps": flags.steps, "from_": start.path})
        seed_everything(seed)
        model = load_model(start.path)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:size]
        examples = [conversation_example(train[i], tokenizer, 256, learn) for i in order.tolist()]
        rows = Padded(examples, tokenizer.pad_id, settings.training.batch_size, seed=seed, causal=True)
        history = fit(model, causal_lm, rows, tuning_config(settings, len(examples)), progress=False)
        if history.stopped:
            raise SystemExit(f"stopped after {history.step} steps")
        kinds = scores(questions, ask(model, tokenizer, questions))
        return {
            "examples": size, "seed": seed, "learn": learn, "steps": flags.steps,
            "tales_loss": mean_loss(model, causal_lm, windows, compute), "seconds": round(history.seconds, 1),
            "kinds": kinds,
        }  # fmt: skip

    results = read_json(flags.json)["runs"] if flags.json and flags.json.exists() else []
    for learn in flags.learn:
        for seed in flags.seeds:
            for size in flags.sizes:
                wanted = (size, seed, learn, flags.steps)
                if any((r["examples"], r["seed"], r["learn"], r["steps"]) == wanted for r in results):
                    continue
                results.append(measure(size, seed, learn))
                run = results[-1]
                shares = {key: round(overall(run["kinds"], key), 3) for key in ("right", "form")}
                print(learn, size, seed, shares, f"tales {run['tales_loss']:.3f}", run["seconds"], flush=True)
                if flags.json:
                    write_json(flags.json, {"forms": FORMS, "runs": results})
    for learn, size, steps in dict.fromkeys((r["learn"], r["examples"], r["steps"]) for r in results):
        own = [r["kinds"] for r in results if (r["learn"], r["examples"], r["steps"]) == (learn, size, steps)]
        if len(own) > 1:
            shares = {key: str(seed_interval([overall(kinds, key) for kinds in own])) for key in ("right", "form")}
            print(f"{size} conversations, {steps} steps, {learn}: {shares}")


if __name__ == "__main__":
    main()
