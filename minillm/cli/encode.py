"""`train.py encode`: texts into vectors, like texts near each other."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm.cli.heads import HeadSettings, HeadTask
from minillm.data import Padded, Record, read_scored_pairs, texts_example
from minillm.metrics import similarity_scores, word_similarity
from minillm.models import TextEncoder
from minillm.training import contrastive


@dataclass(frozen=True, kw_only=True)
class EncodeSettings(HeadSettings):
    """Task."""


class Encode(HeadTask):
    """Turn texts into vectors, like texts near each other: for search, for finding paraphrases.

    python train.py encode --from runs/mlm                           two tellings of one tale
    python train.py encode --data pairs.jsonl                        your pairs: text_a, text_b, and perhaps score
    """

    name = "encode"
    files = ("paraphrases",)
    objective = staticmethod(contrastive)
    unit = "batches"  # a batch has one loss: each text is told from all others in it
    headline = ("recall_at_1", "spearman")

    def read_file(self, path: Path) -> list[Record]:
        return read_scored_pairs(path)

    def head(self, trunk: nn.Module) -> nn.Module:
        return TextEncoder(trunk, self.settings.model.pooling or "mean")

    def padded(self, seed: int | None) -> type[Padded]:
        """In the order that they came in: the loss of a text depends on its neighbours."""
        return Padded

    def example(self, record: Record) -> tuple[dict, ...]:
        return texts_example(record, self.tokenizer, self.frame, self.settings.context)

    def scores(self, answers: list[Tensor]) -> dict:
        """Recall at 1 and 5 of the second text among all; with scores, the rank correlation with cosines."""
        vectors = torch.stack(answers)
        return similarity_scores(vectors[0::2] @ vectors[1::2].T, [record.label for record in self.test_records])

    def baselines(self) -> dict[str, dict]:
        """The cosine of two bags of words."""
        first, second = zip(*(record.texts for record in self.parts.test))
        labels = [record.label for record in self.parts.test]
        return {"bag of words": similarity_scores(word_similarity(first, second), labels)}
