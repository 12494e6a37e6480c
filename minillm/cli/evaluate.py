"""`train.py eval`: what a trained model can do, measured: its loss on texts, and its score on every task it can try."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from minillm import tales
from minillm.cli.classify import Classify, ClassifySettings
from minillm.cli.encode import Encode, EncodeSettings
from minillm.cli.finetune import Task
from minillm.cli.flags import auto, flag, group
from minillm.cli.generate import compute_of
from minillm.cli.life import check_context
from minillm.cli.opening import restore_settings
from minillm.cli.pair import Pair, PairSettings
from minillm.cli.predict import holds_pairs
from minillm.cli.reward import RewardSettings, RewardTask
from minillm.cli.settings import ChatTemplate, Machine
from minillm.cli.sft import questions_in
from minillm.cli.size import LONGEST
from minillm.cli.tag import Tag, TagSettings
from minillm.data import Windows, read_conversations, tokenize, unknown_labels
from minillm.hub import (
    Foreign,
    dtype_of_others,
    holds_head,
    load_causal,
    load_labels,
    load_model,
    load_tokenizer,
    source,
    stage_of,
)
from minillm.inference import (
    against_the_world,
    answers_by_likelihood,
    ask,
    ask_base,
    beside_the_world,
    few_shot_accuracy,
    summary,
)
from minillm.metrics import bits_per_byte, bits_per_character, perplexity
from minillm.system import Compute, check_file, to_json, write_json
from minillm.text import Tokenizer, read_documents
from minillm.training import RunFolder, causal_objective, knows_template, mean_loss, named_or_latest

HEADS: dict[str, tuple[type[Task], type]] = {
    "classify": (Classify, ClassifySettings),
    "pair": (Pair, PairSettings),
    "tag": (Tag, TagSettings),
    "encode": (Encode, EncodeSettings),
    "reward": (RewardTask, RewardSettings),
}
SHOTS, QUESTIONS = (0, 1, 4, 8), 200  # of the patterns
BESIDE = 30  # documents of each kind that are held against the world's own probabilities


@dataclass(frozen=True, kw_only=True)
class TextWindows:
    """Texts."""

    documents: str = flag(
        "blank-line", "what separates the documents of a .txt file; file: nothing does", choices=("blank-line", "file")
    )
    context: int | None = auto("tokens that the model reads at once; auto: as many as it can")
    batch_size: int = flag(16, "windows read together")


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """What is scored."""

    from_: Path | None = flag(None, "the run to score (default: the newest of pretrain)")
    data: Path | None = flag(
        None,
        "a text to score it on; for a head, labelled records, where a label that it never learned counts as wrong "
        "(default: the tales' own)",
    )
    out: Path | None = flag(None, "a .json file for the scores")
    windows: TextWindows = group(TextWindows)
    chat: ChatTemplate = group(ChatTemplate)
    machine: Machine = group(Machine)


def run_evaluate(settings: EvaluateSettings, given: dict) -> int:
    """Score a trained run. The loss on a text is exact: every token predicted once, from as much as fits.

    python train.py eval                                         the newest run of pretrain, on every task at once
    python train.py eval --from runs/sft                         the same of a model that answers
    python train.py eval --from runs/pretrain --data my.txt      a text of yours
    python train.py eval --from runs/classify                    a head, on the test of its task
    python train.py eval --from runs/reward --data pairs.jsonl   a reward model, on pairs of answers
    """
    if settings.out is not None:
        check_file(settings.out)
    run = source(named_or_latest(settings.from_, "pretrain").path, settings.chat.template)
    compute = compute_of(run, settings.machine)
    if holds_head(run):
        scores = head_scores(run, settings.data, compute)
    else:
        trained = load_causal(run, compute.device, dtype_of_others(run, compute.dtype))
        model = Scored(run, load_tokenizer(run), trained, compute, settings.windows)
        if settings.data is None:
            scores = model.on_everything()
        else:
            scores = model.on_texts(read_documents(settings.data, settings.windows.documents), str(settings.data))
    print(to_json(scores, indent=2))
    if settings.out is not None:
        write_json(settings.out, scores)
    return 0


@dataclass
class Scored:
    """A language model that is scored."""

    run: RunFolder
    tokenizer: Tokenizer
    model: nn.Module
    compute: Compute
    windows: TextWindows

    def on_texts(self, documents: list[str], name: str = "the text") -> dict:
        """The loss on documents, in every unit, and the entropy floor where it is known."""
        check_context(self.windows.context, self.model, self.run)
        longest = self.windows.context or min(getattr(self.model.config, "context", 256), LONGEST)
        whole = self.windows.documents == "file"
        tokens = tokenize(documents, self.tokenizer, whole)
        if len(tokens) < 2:
            raise ValueError(f"{name}: a text of {len(tokens)} token has nothing to predict; bring more")
        windows = Windows(tokens, min(longest, len(tokens) - 1), self.windows.batch_size)
        loss = mean_loss(self.model, causal_objective(self.model), windows, self.compute)
        characters, size = sum(map(len, documents)), sum(len(document.encode()) for document in documents)
        predicted = sum(int((batch["labels"][:, 1:] >= 0).sum()) for batch in windows)
        return {
            "loss": loss,
            "perplexity": perplexity(min(loss, 700)),
            "bits_per_character": bits_per_character(loss, predicted, characters),
            "bits_per_byte": bits_per_byte(loss, predicted, size),
            "floor": None if whole else tales.entropy_floor(documents, int((tokens.targets() >= 0).sum())),
            "tokens": predicted,
            "characters": characters,
        }

    def on_everything(self) -> dict:
        """The tales first; then, for what the model can try, the clinic, in-context patterns and instructions."""
        scores = self.on_texts(tales.load_documents("tales_valid.txt"))
        tasks = {
            "world": self.on_the_world,
            "clinic": lambda: self.on_texts(tales.load_documents("clinic_valid.txt")),
            "patterns": self.on_patterns,
            "instructions": self.on_instructions,
        }
        for name, measure in tasks.items():
            try:
                scores[name] = measure()
            except ValueError as error:  # a context that is too short, a character that the tokenizer does not know
                scores[name] = None
                print(f"{name}: not asked. {error}", file=sys.stderr)
        return scores

    def on_the_world(self) -> dict:
        """How far the model's probabilities are from the exact ones, token by token, and where they are furthest."""
        documents = tales.load_documents("tales_valid.txt")[:BESIDE]
        world = tales.NextToken(self.tokenizer)
        found = beside_the_world(self.model, self.tokenizer, documents, world, self.compute)
        return against_the_world(found, self.tokenizer, documents)

    def on_patterns(self) -> dict:
        """Accuracy on in-context patterns by number of examples, with the best that is possible."""
        rows: dict[str, dict] = {}
        for kind, mark in (("game", "="), ("relation", ":")):
            how = {"template": f"{{input}} {mark} {{answer}}", "separator": "\n"}
            for shots in SHOTS:
                questions = tales.make_pattern_questions(QUESTIONS, 0, shots, kind)
                with self.compute.autocast():
                    found = answers_by_likelihood(self.model, self.tokenizer, questions, **how)
                rows.setdefault(kind, {})[f"{shots} shots"] = {
                    "accuracy": few_shot_accuracy(questions, found).mean,
                    "possible": sum(question["ceiling"] for question in questions) / len(questions),
                }
        return rows

    def on_instructions(self) -> dict:
        """Answers about tales: in the chat template of a model that was taught to answer, else as a text."""
        questions = questions_in(read_conversations(tales.data_file("instructions_test.jsonl")))
        asking = ask if knows_template(self.run) else ask_base
        with self.compute.autocast():
            return summary(questions, asking(self.model, self.tokenizer, questions, progress=True))


def head_scores(run: RunFolder, data: Path | None, compute: Compute) -> dict:
    """The scores of a head on labelled records, or on the test of its run."""
    model, config, names = load_model(run.path, compute.device), run.config(), load_labels(run)
    stage, own = stage_of(run, model), {} if isinstance(run, Foreign) else config["settings"]
    if isinstance(run, Foreign):
        if data is None:
            raise ValueError(
                f"{run.path} holds a model that others made: bring labelled records to score it on, --data"
            )
        stage = "pair" if stage == "classify" and holds_pairs(data, labelled=True) else stage
    kind, settings = HEADS[stage]
    with tempfile.TemporaryDirectory() as folder:  # a report writes pictures, and the run keeps its own
        task = kind(restore_settings(settings, own), RunFolder(folder), compute, {})
        task.test_records = task.read_file(data) if data else task.load_parts().test
        implied = task.implied(names)
        task.unknown = [*implied, *unknown_labels(task.test_records, [*names, *implied])]
        task.use(load_tokenizer(run), model, names)
        task.test_examples = task.examples(task.test_records)
        return task.scores(task.answers())
