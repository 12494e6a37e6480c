"""`train.py eval`: what a trained model can do, measured: its loss on texts, and its score on every task it can try."""

import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from minillm import tales
from minillm.cli.common import Computing, floor, latest_run, restore_settings
from minillm.cli.finetune import Scored, Task, load
from minillm.cli.flags import flag
from minillm.cli.sft import asked_of
from minillm.cli.trunks import frame_of
from minillm.cli.understanding import CLASSIFY, ENCODE, PAIR, TAG, Classify, Encode, Pair, Tag
from minillm.cli.writing import answers
from minillm.data import Windows, read_conversations, tokenize
from minillm.hub import load_causal, load_model, load_tokenizer
from minillm.inference import answers_by_likelihood, ask, ask_base, few_shot_accuracy, summary
from minillm.metrics import bits_per_byte, bits_per_character, perplexity
from minillm.system import Compute, check_file, pick_device, write_json
from minillm.tales import data_file, load_documents
from minillm.text import Tokenizer, read_documents, read_text
from minillm.training import RunFolder, causal_lm, mean_loss

TASKS = {task.stage: task for task in (CLASSIFY, PAIR, TAG, ENCODE)}
SETTINGS = {"classify": Classify, "pair": Pair, "tag": Tag, "encode": Encode}
SHOTS, QUESTIONS = (0, 1, 4, 8), 200  # of the patterns


@dataclass(frozen=True, kw_only=True)
class Evaluate(Computing):
    """Settings of `eval`."""

    from_: Path | None = flag(None, "the run to score (default: the newest of pretrain)")
    data: Path | None = flag(None, "a text to score it on; for a head, labelled records (default: the tales' own)")
    documents: str = flag(
        "blank-line", "what separates the documents of a .txt file; file: nothing does", choices=("blank-line", "file")
    )
    context: int = flag(0, "tokens that the model reads at once (0: as many as it can)")
    batch_size: int = flag(16, "windows read together")
    out: Path | None = flag(None, "a .json file for the scores")


def run_evaluate(settings: Evaluate, given: dict) -> int:
    """Score a trained run. The loss on a text is exact: every token predicted once, from as much as fits.

    python train.py eval                                         the newest run of pretrain, on every task at once
    python train.py eval --from runs/sft                         the same of a model that answers
    python train.py eval --from runs/pretrain --data my.txt      a text of yours
    python train.py eval --from runs/classify                    a head, on the test of its task
    """
    if settings.out is not None:
        check_file(settings.out)
    compute = pick_device(settings.device, settings.dtype)
    run = RunFolder(settings.from_) if settings.from_ else latest_run("pretrain")
    stage = run.config().get("stage")
    if stage in TASKS:
        scores = head_scores(settings, run, TASKS[stage], compute)
    else:
        tokenizer, model = load_tokenizer(run), load_causal(run, compute.device)
        if settings.data is None:
            scores = all_scores(settings, run, model, tokenizer, compute)
        else:
            whole = settings.documents == "file"
            documents = [read_text(settings.data)] if whole else read_documents(settings.data)
            scores = text_scores(settings, run, model, tokenizer, documents, compute)
    print(json.dumps(scores, indent=2))
    if settings.out is not None:
        write_json(settings.out, scores)
    return 0


def text_scores(settings: Evaluate, run: RunFolder, model, tokenizer: Tokenizer, documents, compute: Compute) -> dict:
    """The loss on documents, in every unit, and the floor where it is known."""
    longest = getattr(model.config, "context", 256)
    if settings.context > longest:
        raise ValueError(f"--context {settings.context} is longer than the {longest} of the model in {run.path}")
    whole = settings.documents == "file"
    tokens = tokenize(documents, tokenizer, whole)
    if len(tokens) < 2:
        raise ValueError(f"{settings.data}: a text of {len(tokens)} token has nothing to predict; bring more")
    windows = Windows(tokens, min(settings.context or longest, len(tokens) - 1), settings.batch_size)
    loss = mean_loss(model, causal_lm, windows, compute)
    characters, size = sum(map(len, documents)), sum(len(document.encode()) for document in documents)
    predicted = sum(int((batch["labels"][:, 1:] >= 0).sum()) for batch in windows)
    return {
        "loss": loss,
        "perplexity": perplexity(min(loss, 700)),
        "bits_per_character": bits_per_character(loss, predicted, characters),
        "bits_per_byte": bits_per_byte(loss, predicted, size),
        "floor": None if whole else floor(documents, tokens),
        "tokens": predicted,
        "characters": characters,
    }


def all_scores(settings: Evaluate, run: RunFolder, model: nn.Module, tokenizer: Tokenizer, compute: Compute) -> dict:
    """The tales first; then, for what the model can try, the clinic, the in-context patterns and the instructions."""
    scores = text_scores(settings, run, model, tokenizer, load_documents("tales_valid.txt"), compute)
    tasks = {
        "clinic": lambda: text_scores(settings, run, model, tokenizer, load_documents("clinic_valid.txt"), compute),
        "patterns": lambda: pattern_scores(model, tokenizer, compute),
        "instructions": lambda: instruction_scores(run, model, tokenizer, compute),
    }
    for name, measure in tasks.items():
        try:
            scores[name] = measure()
        except ValueError as error:  # a context that is too short, a character that the tokenizer does not know
            scores[name] = None
            print(f"{name}: not asked. {error}", file=sys.stderr)
    return scores


def pattern_scores(model: nn.Module, tokenizer: Tokenizer, compute: Compute) -> dict:
    """Accuracy on in-context patterns by number of examples, with the best that is possible."""
    rows: dict[str, dict] = {}
    for kind, mark in (("game", "="), ("relation", ":")):
        for shots in SHOTS:
            questions = tales.make_pattern_questions(QUESTIONS, 0, shots, kind)
            with compute.autocast():
                found = answers_by_likelihood(
                    model, tokenizer, questions, template=f"{{input}} {mark} {{answer}}", separator="\n"
                )
            rows.setdefault(kind, {})[f"{shots} shots"] = {
                "accuracy": few_shot_accuracy(questions, found).mean,
                "possible": sum(question["ceiling"] for question in questions) / len(questions),
            }
    return rows


def instruction_scores(run: RunFolder, model: nn.Module, tokenizer: Tokenizer, compute: Compute) -> dict:
    """Answers about tales: in the chat template of a model that was taught to answer, else as a text to continue."""
    questions = asked_of(read_conversations(data_file("instructions_test.jsonl")))
    asking = ask if answers(run) else ask_base
    with compute.autocast():
        return summary(questions, asking(model, tokenizer, questions, progress=True))


def head_scores(settings: Evaluate, run: RunFolder, task: Task, compute: Compute) -> dict:
    """The scores of a head on --data, or on the test of its run."""
    config = run.config()
    saved = restore_settings(SETTINGS[task.stage], config["settings"])
    if task is PAIR:
        task = replace(task, files=saved.task)
    records = task.read(settings.data) if settings.data else load(task, saved).test
    tokenizer, model = load_tokenizer(run), load_model(run.path, compute.device)
    names = config["labels"]
    frame, classes = frame_of(model.trunk, tokenizer), {name: index for index, name in enumerate(names)}
    for record in records:
        for label in task.labels(record) if task.labels else ():
            if label not in classes:
                raise ValueError(f"{record.place}: the label {label!r} is none of the run's: {', '.join(names)}")
    context = saved.context or getattr(model.trunk.config, "context", 256)
    examples = [task.example(record, tokenizer, frame, context, classes) for record in records]
    with tempfile.TemporaryDirectory() as folder:  # a report writes pictures, and the run keeps its own
        scored = Scored(records, examples, names, RunFolder(folder), tokenizer)
        return task.report(task.answer(model, scored, saved, compute), scored)
