"""`train.py predict`: what a head says of texts that nobody has labelled."""

import contextlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from minillm.align import answer_example
from minillm.cli.flags import flag, group
from minillm.cli.generate import compute_of
from minillm.cli.settings import Machine
from minillm.data import (
    ByLength,
    Frame,
    check_not_empty,
    check_words,
    frame_of,
    pair_example,
    tag_example,
    text_example,
    user_message,
    words_field,
)
from minillm.hub import Foreign, load_labels, load_model, load_tokenizer, reading_length, source, stage_of
from minillm.inference import check_numbers, predict, tags_of
from minillm.metrics import words_and_marks
from minillm.system import check_file, to_json, write_text
from minillm.text import Tokenizer, keep_good, read_records, text_field
from minillm.training import RunFolder

TEXT_FIELDS = {
    "classify": ("text",),
    "pair": ("text_a", "text_b"),
    "tag": ("text",),
    "encode": ("text",),
    "reward": ("prompt", "answer"),
}


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """Texts."""

    from_: Path | None = flag(None, "the run of classify, pair, tag, encode or reward to ask, or such a model")
    text: str = flag("", "one text; for a run of pair the first of two, of reward the prompt")
    second: str = flag("", "for a run of pair: the second text; of reward: the answer")
    data: Path | None = flag(
        None,
        'many: .jsonl, .csv or .tsv with "text"; for pair with "text_a" and "text_b", for reward with "prompt" and '
        '"answer"; for tag also "tokens"; bad records are left out and said',
    )
    batch_size: int = flag(32, "texts read together")
    out: Path | None = flag(None, "a .jsonl file for the answers, instead of the screen")
    machine: Machine = group(Machine)


def run_predict(settings: PredictSettings, given: dict) -> int:
    """Ask a trained run about new texts: a label and its probability, tags, a vector, a reward. One JSON object a line.

    python train.py predict --from runs/classify --text "Mira lost her kite."
    python train.py predict --from runs/pair --text "Mira lost her kite." --second "Now Mira had the kite."
    python train.py predict --from runs/tag --data new.jsonl --out answers.jsonl
    """
    if settings.from_ is None:
        raise ValueError(f"predict needs --from, the folder of a run of {', '.join(TEXT_FIELDS)}")
    run = source(settings.from_)
    compute = compute_of(run, settings.machine)
    stage = run.config().get("stage")
    if not isinstance(run, Foreign):
        check_texts(settings, stage, run)  # before anything is loaded
    tokenizer, model = load_tokenizer(run), load_model(run.path, compute.device)
    if isinstance(run, Foreign):
        stage = asked_as(settings, run, model)
        check_texts(settings, stage, run)
    said = None if isinstance(run, Foreign) else run.config()["settings"].check(context=int)["context"]
    context = said or reading_length(run, model.trunk)
    read = partial(example_of, stage, tokenizer, frame_of(model.trunk, tokenizer), context)
    questions, examples = zip(*questions_from(settings, stage, read))
    cut = sum(example["cut"] > 0 for example in examples)
    if cut:
        said = f"{cut} of {len(examples)} texts are longer than the {context} tokens that the model reads: cut there"
        print(said, file=sys.stderr)  # the answers alone go to the screen, so that they can be piped
    outputs = predict(model, ByLength(examples, tokenizer.pad_id, settings.batch_size), compute)
    names = load_labels(run)
    check_numbers(outputs)
    lines = [
        to_json(answer(stage, question, output, example, names))
        for question, output, example in zip(questions, outputs, examples)
    ]
    if settings.out is None:
        print("\n".join(lines))
        return 0
    write_text(settings.out, "\n".join(lines) + "\n")
    print(f"{len(lines)} answers in {settings.out}")
    return 0


def example_of(stage: str, tokenizer: Tokenizer, frame: Frame, context: int, question: tuple) -> dict:
    """A question as the head of a stage reads it."""
    if stage == "tag":
        return tag_example(question[0], [0] * len(question[0]), tokenizer, frame, context)
    if stage == "reward":
        return answer_example(user_message(question[0]), question[1], tokenizer, context)
    ids = [tokenizer.encode(text) for text in question]
    return (pair_example if len(ids) == 2 else text_example)(*ids, frame, context)


def asked_as(settings: PredictSettings, run: RunFolder, model: nn.Module) -> str:
    """What a model of others is asked as: one that sorts texts may have learned pairs, and reads them if it gets some.

    Raises: ValueError for one without a head.
    """
    stage = stage_of(run, model)
    if stage not in TEXT_FIELDS:
        raise ValueError(f"{run.path} holds a model without a head of ours: tune it first, as by classify --from")
    if stage == "classify" and (settings.second or (settings.data and holds_pairs(settings.data))):
        return "pair"
    return stage


def holds_pairs(path: Path, labelled: bool = False) -> bool:
    """Whether the first record of a file has two texts. labelled: besides its label; else nothing but texts counts."""
    label = ("label",) if labelled else ()
    forms = [(*TEXT_FIELDS[stage], *label) for stage in ("pair", "classify")]
    with contextlib.redirect_stderr(io.StringIO()):  # who reads the records says what is to be said of the file
        records = read_records(path, forms, [])
    return bool(records) and "text_b" in records[0][1]


def check_texts(settings: PredictSettings, stage: str, run: RunFolder) -> None:
    """Raises: ValueError for a run that is not asked, for texts that nobody would read, for an --out that cannot be."""
    if stage not in TEXT_FIELDS:
        raise ValueError(f"{run.path} is a run of {stage}: predict asks runs of {', '.join(TEXT_FIELDS)}")
    if settings.out is not None:
        check_file(settings.out)
    if settings.second and len(TEXT_FIELDS[stage]) == 1:
        raise ValueError(f"--second has no use here: a run of {stage} reads one text at a time; leave it out")
    if settings.data is not None and (settings.text or settings.second):
        raise ValueError("--data has the texts, and so have --text and --second: give the file or the texts, not both")


def questions_from(settings: PredictSettings, stage: str, read: Callable) -> list[tuple[tuple, dict]]:
    """The texts of each question, of tag its words, and what `read` makes of them; bad records are left out, and said.

    Raises: ValueError for texts that are missing or empty, and for a file without a good record.
    """
    fields, path = TEXT_FIELDS[stage], settings.data
    if path is None:
        texts = (settings.text, settings.second)[: len(fields)]
        if not all(text.strip() for text in texts):
            raise ValueError("predict needs --data, or --text" + (" and --second" if len(fields) == 2 else ""))
        question = (words_and_marks(settings.text),) if stage == "tag" else texts
        return [(question, read(question))]

    def make(line: int, record: dict) -> tuple[tuple, dict]:
        if stage == "tag" and "tokens" in record:
            question = (words_field(path, line, record, "tokens"),)
            check_words(path, line, *question)
        else:
            question = tuple(text_field(path, line, record, field) for field in fields)
            check_not_empty(path, line, fields, question)
            question = (words_and_marks(*question),) if stage == "tag" else question
        try:
            return question, read(question)
        except ValueError as error:  # which does not say where
            raise ValueError(f"{path}:{line}: {error}") from None

    wrong: list[tuple[int, str]] = []
    records = read_records(path, [fields, ("tokens",)] if stage == "tag" else [fields], wrong)
    return keep_good(records, make, wrong, many=1)


def answer(stage: str, question: tuple, output: Tensor, example: dict, names: list[str]) -> dict:
    """The line of one question."""
    if stage == "tag":
        return {"tokens": question[0], "tags": tags_of(output, example, len(question[0]), names)}
    texts = dict(zip(TEXT_FIELDS[stage], question))
    if stage == "encode":
        return {**texts, "vector": [round(value, 6) for value in output.tolist()]}
    if stage == "reward":
        return {**texts, "reward": round(float(output), 4)}
    best = int(output.argmax())
    return {**texts, "label": names[best], "probability": round(float(output.softmax(-1)[best]), 4)}
