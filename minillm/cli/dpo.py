"""`train.py dpo`: a policy that learns from preferences directly, with no reward model and no sampling."""

from dataclasses import dataclass

from torch import nn

from minillm.align import (
    LOSSES,
    PPOConfig,
    as_reference,
    compare_answers,
    direct_preference,
    loss_named,
    margins,
    sample_answers,
    with_reference,
    without_reference,
    write_answers,
)
from minillm.cli.flags import flag, group
from minillm.cli.rehearsal import Learned, RehearsalSettings, Rehearses, beside, with_shares
from minillm.cli.reward import PreferenceSettings, PreferenceTask, load_answering
from minillm.data import Padded
from minillm.hub import Foreign, load_causal, source
from minillm.peft import bare
from minillm.report import log_probabilities, picture
from minillm.text import Tokenizer
from minillm.training import History, causal_objective

COMPARED_PROMPTS, COMPARED_OF_OTHERS = 200, 24  # prompts whose answers are compared; large models write slowly


@dataclass(frozen=True, kw_only=True)
class DPOSettings(PreferenceSettings):
    """Task."""

    loss: str = flag("dpo", "what is learned of a pair", choices=LOSSES)
    beta: float | None = flag(
        None, "how much the distance from the reference costs (dpo, 0.1; ipo, tau 0.1); of simpo the reward's size (2)"
    )
    gamma: float | None = flag(None, "of simpo: by how much the rewards of a pair are to differ (default: 0.5)")
    label_smoothing: float | None = flag(
        None, "of dpo: share of the pairs that may be the wrong way round (default: 0)"
    )
    rehearsal: RehearsalSettings = group(RehearsalSettings)


class DPO(Rehearses, PreferenceTask):
    """Learn what people prefer, directly: the chosen answers become likelier than the rejected, near to what was.

    python train.py dpo                                  letters about tales, on the newest run of letters
    python train.py dpo --method lora                    the policy as an adapter; the reference costs nothing
    python train.py dpo --data pairs.jsonl --loss ipo    your pairs: {"prompt", "chosen", "rejected"}

    The loss begins at ln 2. Both log-probabilities may fall while the margin grows; that is how it works.
    """

    name = "dpo"
    headline = ("accuracy", "true_score")

    @classmethod
    def complete(cls, settings: DPOSettings, given: dict) -> DPOSettings:
        return with_shares(super().complete(settings, given), given, letters=False)

    def new_model(self, texts: list[str]) -> tuple[Tokenizer, nn.Module]:
        settings = self.settings
        self.loss = loss_named(settings.loss, settings.beta, settings.gamma, settings.label_smoothing)
        self.average = settings.loss == "simpo"
        self.objective = direct_preference(self.loss, self.average)
        self.choices = self.choices if settings.loss == "dpo" else None  # the loss of the others has another scale
        return load_answering(source(settings.from_, settings.chat.template), dtype=self.dtype)

    def enrich(self, examples: list) -> list:
        """The examples with what the policy says of them before training, without its adapter."""
        if self.average:
            return without_reference(examples)
        with as_reference(self.model, None) as reference:
            return with_reference(reference, examples, self.tokenizer, self.compute, together=self.together)

    def in_batches(self, examples: list, seed: int | None = None) -> Padded:
        """Batches of pairs. A causal policy never sees the padding behind an answer."""
        batch_size = self.settings.training.batch_size
        return self.padded(seed)(examples, self.tokenizer.pad_id, batch_size, seed=seed, causal=True)

    def may_rehearse(self, kept: Learned) -> Learned:
        return kept.of_one_quality()

    def prepare(self) -> None:
        super().prepare()
        if self.old.share:
            self.unit, self.objective = (
                "examples",
                beside(self.objective, "reference", causal_objective(bare(self.model))),
            )

    def watch(self, model: nn.Module) -> dict:
        return margins(model, self.valid, self.loss, self.compute, self.average, self.together)

    def answers(self) -> list:
        """What the policy answers to the test's prompts, and what it answered before."""
        origin = source(self.settings.from_)
        most = COMPARED_OF_OTHERS if isinstance(origin, Foreign) else COMPARED_PROMPTS
        self.asked = [record.pair[0] for record in self.test_records][:most]
        reference = load_causal(origin, self.compute.device, self.dtype)
        more = (self.tokenizer, self.asked, self.compute, self.settings.machine.seed, PPOConfig.max_new_tokens)
        print(f"answering {len(self.asked)} prompts, before and after")
        return [sample_answers(reference, *more)[0], *sample_answers(self.model, *more, reference)]

    def scores(self, answers: list) -> dict:
        """Accuracy and margin on held-out pairs, the answers compared with those before, and a picture of the pairs."""
        with picture(self.run.path / "answers.png") as ax:
            log_probabilities(History(self.run.records()), ax=ax)
        before, after, distances = answers
        write_answers(self.run, self.asked, after, before)
        kept = self.old.scores(self.model, self.compute)
        return {**self.on_pairs(), **kept, **compare_answers(self.asked, after, before, distances)}

    def on_pairs(self) -> dict:
        """How often the policy finds the chosen answer the better one, and by how much: on test, and on validation."""
        parts = {"": self.in_batches(self.test_examples), "valid_": self.valid}
        how = (self.loss, self.compute, self.average)
        found = {part: margins(self.model, pairs, *how) for part, pairs in parts.items()}
        names = ("accuracy", "margin", "likelier", "likelier_before")
        return {f"{part}{name}": row[name] for part, row in found.items() for name in names}
