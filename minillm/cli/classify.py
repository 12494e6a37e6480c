"""`train.py classify`: texts into classes."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from minillm.cli.heads import HeadSettings, HeadTask
from minillm.data import Record, classify_example, read_labelled
from minillm.metrics import BagOfWords, accuracy, bootstrap_interval, confusion_matrix, macro_f1, majority
from minillm.models import SequenceClassifier
from minillm.report import heat_map, picture
from minillm.training import classification

DRAWN_CLASSES = 30  # at most, in a picture of which is taken for which


@dataclass(frozen=True, kw_only=True)
class ClassifySettings(HeadSettings):
    """Task."""


class Classify(HeadTask):
    """Sort texts into classes: a model reads a text and names its label.

    python train.py classify                                         how tales end, from scratch
    python train.py classify --from runs/mlm                         the same, from a pre-trained encoder
    python train.py classify --data train.tsv --test test.tsv        your texts: .jsonl, .csv, .tsv: text, label
    """

    name = "classify"
    files = ("sentiment",)
    objective = staticmethod(classification)

    def read_file(self, path: Path) -> list[Record]:
        return read_labelled("text")(path)

    def head(self, trunk: nn.Module) -> nn.Module:
        return self.classifier(SequenceClassifier, trunk)

    def example(self, record: Record) -> dict:
        return classify_example(record, self.tokenizer, self.frame, self.settings.context, self.classes)

    def scores(self, answers: list[Tensor]) -> dict:
        """Accuracy with its interval, macro F1, and the confusion matrix as numbers and as a picture."""
        records, names = self.test_records, list(self.classes)
        predicted = [int(logits.argmax()) for logits in answers]
        truth = [names.index(record.label) for record in records]
        table = confusion_matrix(truth, predicted, len(names))
        probabilities = (float(logits.softmax(-1).max()) for logits in answers)
        self.write_predictions(
            [
                {"texts": record.texts, "label": record.label, "predicted": names[guess], "probability": round(p, 4)}
                for record, guess, p in zip(records, predicted, probabilities)
            ],
        )
        self.draw(table)
        interval = bootstrap_interval([a == b for a, b in zip(truth, predicted)])
        share = dict(zip(("accuracy", "accuracy_low", "accuracy_high"), interval))
        return {**share, "f1": macro_f1(truth, predicted), "confusion": table}

    def draw(self, table: list[list[int]]) -> None:
        """confusion.png: how often each class was taken for each; of very many classes those that occur most."""
        often = sorted(range(len(table)), key=lambda i: -sum(table[i]))
        kept = sorted(often[:DRAWN_CLASSES])
        names = [list(self.classes)[i] for i in kept]
        size = (1.2 + 0.9 * len(names), 1 + 0.8 * len(names))
        with picture(self.run.path / "confusion.png", figsize=size) as ax:
            heat_map([[table[i][j] for j in kept] for i in kept], names, names, form="{:.0f}", ax=ax)
            ax.set(xlabel="the model says", ylabel="the truth")

    def baselines(self) -> dict[str, dict]:
        """The majority class, and a bag of words."""
        names, parts = list(self.classes), self.parts
        texts = {part: [record.texts for record in getattr(parts, part)] for part in ("train", "test")}
        labels, truth = ([names.index(record.label) for record in part] for part in (parts.train, parts.test))
        answers = {
            "majority class": [majority(labels)] * len(truth),
            "bag of words": BagOfWords().fit(texts["train"], labels, len(names)).predict(texts["test"]),
        }
        return {name: {"accuracy": accuracy(truth, own), "f1": macro_f1(truth, own)} for name, own in answers.items()}
