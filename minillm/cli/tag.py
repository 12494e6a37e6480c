"""`train.py tag`: a tag for every word."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from torch import Tensor, nn

from minillm.cli.flags import flag
from minillm.cli.heads import HeadSettings, HeadTask
from minillm.data import Record, is_span, read_tagged, tagged_example, to_iob2
from minillm.inference import tags_of
from minillm.metrics import accuracy, bootstrap_interval, commonest_tags, entity_f1, majority
from minillm.models import TokenClassifier
from minillm.training import classification


@dataclass(frozen=True, kw_only=True)
class TagSettings(HeadSettings):
    """Task."""

    column: str = flag(
        "", "which tags: upos or another of CoNLL-U, ner, a field, a number (default: the last, or upos)"
    )
    every_piece: bool = flag(False, "learn the tag at each token of a word, not at its first alone")


class Tag(HeadTask):
    """Tag words: names, places, things, in BIO marks; or with classes, such as parts of speech.

    python train.py tag --from runs/mlm                              who and what is in a tale
    python train.py tag --data train.jsonl --valid valid.jsonl       your words: {"tokens", "tags"}, or CoNLL's columns
    python train.py tag --data en.conllu --column xpos               parts of speech, of CoNLL-U

    Entities are scored by F1 over exact spans, classes by accuracy over words.
    """

    name = "tag"
    files = ("tags",)
    objective = staticmethod(classification)
    unit = "words"
    headline = ("f1", "accuracy")

    def read_file(self, path: Path) -> list[Record]:
        return read_tagged(path, self.settings.column)

    def head(self, trunk: nn.Module) -> nn.Module:
        return self.classifier(TokenClassifier, trunk)

    def example(self, record: Record) -> dict:
        settings = self.settings
        return tagged_example(record, self.tokenizer, self.frame, settings.context, self.classes, settings.every_piece)

    @property
    def spans(self) -> bool:
        """Whether the tags mark entities, and are no classes of words."""
        return any(map(is_span, self.label_names))

    def implied(self, names: list[str]) -> list[str]:
        """Others may mark entities with I- alone, whose first words are to be B- like those of the records."""
        return sorted({begun for name in names for begun in to_iob2([name])} - {*names})

    def scores(self, answers: list[Tensor]) -> dict:
        """The scores of `tag_scores`, and the share of texts that are right as a whole, with its interval."""
        records, names = self.test_records, self.label_names
        rows = zip(answers, self.test_examples, records)
        predicted = [tags_of(logits, example, len(record.texts), names) for logits, example, record in rows]
        predicted = [to_iob2(tags) for tags in predicted] if self.spans else predicted  # as the records were read
        truth = [list(record.label) for record in records]
        self.write_predictions(
            [{"tokens": r.texts, "tags": own, "predicted": guess} for r, own, guess in zip(records, truth, predicted)]
        )
        interval = bootstrap_interval([own == guess for own, guess in zip(truth, predicted)])
        whole = dict(zip(("whole_texts_right", "whole_texts_right_low", "whole_texts_right_high"), interval))
        return {**tag_scores(truth, predicted, self.spans), **whole}

    def baselines(self) -> dict[str, dict]:
        """The commonest tag of each word; of a word never met "O", or the commonest of all."""
        train, test = self.parts.train, self.parts.test
        commonest = commonest_tags([record.texts for record in train], [record.label for record in train])
        unknown = "O" if self.spans else majority([tag for record in train for tag in record.label])
        predicted = [[commonest.get(word, unknown) for word in record.texts] for record in test]
        return {"commonest tag": tag_scores([list(record.label) for record in test], predicted, self.spans)}


def tag_scores(truth: list[list[str]], predicted: list[list[str]], spans: bool) -> dict[str, float]:
    """The accuracy over words, after, where tags mark entities, F1 over exact spans."""
    entities = {"f1": entity_f1(truth, predicted)} if spans else {}
    return {**entities, "accuracy": accuracy([*chain(*truth)], [*chain(*predicted)])}
