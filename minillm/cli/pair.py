"""`train.py pair`: pairs of texts into classes: entailment, next sentence, paraphrase."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from minillm.cli.classify import Classify
from minillm.cli.flags import flag
from minillm.cli.heads import HeadSettings
from minillm.data import Parts, Record, read_labelled
from minillm.models import PairClassifier


@dataclass(frozen=True, kw_only=True)
class PairSettings(HeadSettings):
    """Task."""

    task: str = flag("entailment", "which pairs of the tales, without --data", choices=("entailment", "next_sentence"))


class Pair(Classify):
    """Judge pairs of texts: does the second follow from the first, come next, mean the same?

    python train.py pair --from runs/mlm                             entailment in the tales
    python train.py pair --from runs/mlm --task next_sentence        does one sentence follow the other?
    python train.py pair --data pairs.jsonl                          your pairs: text_a, text_b and label
    """

    name = "pair"
    unit = "pairs"

    def load_parts(self) -> Parts:
        self.files = (self.settings.task,)
        return super().load_parts()

    def read_file(self, path: Path) -> list[Record]:
        return read_labelled("text_a", "text_b")(path)

    def head(self, trunk: nn.Module) -> nn.Module:
        return self.classifier(PairClassifier, trunk)
