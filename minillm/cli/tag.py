"""`train.py tag`: a tag for every word."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from minillm.cli.finetune import HeadSettings, HeadTask
from minillm.cli.flags import flag
from minillm.data import Record, read_tagged, tagged_example
from minillm.inference import tags_of
from minillm.metrics import bootstrap_interval, commonest_tags, entity_f1
from minillm.models import TokenClassifier
from minillm.training import classification


@dataclass(frozen=True, kw_only=True)
class TagSettings(HeadSettings):
    """Task."""

    every_piece: bool = flag(False, "learn the tag at each token of a word, not at its first alone")


class Tag(HeadTask):
    """Tag words: names, places, things, in BIO marks.

    python train.py tag --from runs/mlm                              who and what is in a tale
    python train.py tag --data train.jsonl --valid valid.jsonl       your words: {"tokens", "tags"}, or CoNLL's columns
    """

    name = "tag"
    files = ("tags",)
    objective = staticmethod(classification)
    unit = "words"
    headline = ("f1", "accuracy")

    def read_file(self, path: Path) -> list[Record]:
        return read_tagged(path)

    def head(self, trunk: nn.Module) -> nn.Module:
        model = self.settings.model
        return TokenClassifier(trunk, len(self.label_names), model.pooling, model.dropout)

    def example(self, record: Record) -> dict:
        settings = self.settings
        return tagged_example(record, self.tokenizer, self.frame, settings.context, self.classes, settings.every_piece)

    def scores(self, answers: list[Tensor]) -> dict:
        """F1 over entities, exact spans, with its interval over texts, and the accuracy over words."""
        records, names = self.test_records, self.label_names
        rows = zip(answers, self.test_examples, records)
        predicted = [tags_of(logits, example, len(record.texts), names) for logits, example, record in rows]
        truth = [list(record.label) for record in records]
        self.write_predictions(
            [{"tokens": r.texts, "tags": own, "predicted": guess} for r, own, guess in zip(records, truth, predicted)]
        )
        words = [a == b for own, guess in zip(truth, predicted) for a, b in zip(own, guess)]
        interval = bootstrap_interval([own == guess for own, guess in zip(truth, predicted)])
        whole = dict(zip(("whole_texts_right", "whole_texts_right_low", "whole_texts_right_high"), interval))
        return {"f1": entity_f1(truth, predicted), "accuracy": sum(words) / len(words), **whole}

    def baselines(self) -> dict[str, dict]:
        """The commonest tag of each word."""
        commonest = commonest_tags([r.texts for r in self.parts.train], [r.label for r in self.parts.train])
        predicted = [[commonest.get(word, "O") for word in record.texts] for record in self.parts.test]
        return {"commonest tag": {"f1": entity_f1([record.label for record in self.parts.test], predicted)}}
