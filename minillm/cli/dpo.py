"""`train.py dpo`: a policy that learns from preferences directly, with no reward model and no sampling."""

from dataclasses import dataclass, replace
from functools import partial

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
from minillm.cli.common import settings_that_hold
from minillm.cli.finetune import SHORTEST, Scored, Task, run_finetune
from minillm.cli.flags import flag
from minillm.cli.reward import Preferring, answers_of, load_answering, refuse_dropout, start
from minillm.data import Padded, Parts, read_preferences
from minillm.hub import load_causal
from minillm.report import log_probabilities, picture
from minillm.system import Compute
from minillm.text import Tokenizer
from minillm.training import History

JUDGED = 200  # prompts whose answers are compared
LONGEST = PPOConfig.max_new_tokens  # tokens of an answer


@dataclass(frozen=True, kw_only=True)
class DPO(Preferring):
    """Settings of `dpo`."""

    epochs: float = flag(1.0, f"passes over the pairs; {SHORTEST} steps at least (0: 7 passes)")
    learning_rate: float = flag(1e-3, "peak rate of AdamW: embeddings and the output layer")
    matrix_learning_rate: float = flag(2e-3, "peak rate of Muon: the trunk's matrices")
    loss: str = flag("dpo", "what is learned of a pair", choices=LOSSES)
    beta: float | None = flag(
        None, "how dear the distance from the reference is (dpo, 0.1; ipo, tau 0.1); of simpo the reward's size (2)"
    )
    gamma: float | None = flag(None, "of simpo: by how much the rewards of a pair are to differ (default: 0.5)")
    label_smoothing: float | None = flag(
        None, "of dpo: share of the pairs that may be the wrong way round (default: 0)"
    )


def build(task: Task, settings: DPO, texts: list[str], classes: int) -> tuple[Tokenizer, nn.Module]:
    """The policy."""
    return load_answering(start(settings))


def batches(examples: list, tokenizer: Tokenizer, settings: DPO, seed: int | None) -> Padded:
    """Batches of pairs. A causal policy never sees the padding behind an answer."""
    return Padded(examples, tokenizer.pad_id, settings.batch_size, seed=seed, causal=True)


def answers(model: nn.Module, scored: Scored, settings: DPO, compute: Compute) -> list:
    """What the policy answers to the test's prompts, and what it answered before."""
    conversations = [record.pair[0] for record in scored.records][:JUDGED]
    reference = load_causal(start(settings), compute.device)
    more = (scored.tokenizer, conversations, compute, settings.seed, LONGEST)
    print(f"answering {len(conversations)} prompts, before and after")
    return [sample_answers(reference, *more)[0], *sample_answers(model, *more, reference)]


def report(outputs: list, scored: Scored) -> dict:
    """The answers compared with those before, and a picture of what was learned of pairs that were not learned from."""
    with picture(scored.run.path / "answers.png") as ax:
        log_probabilities(History(scored.run.records()), ax=ax)
    before, after, distances = outputs
    conversations = [record.pair[0] for record in scored.records][:JUDGED]
    write_answers(scored.run, conversations, after, before)
    return compare_answers(conversations, after, before, distances)


def beside_reference(model: nn.Module, examples: list, tokenizer: Tokenizer, compute: Compute, asked: bool) -> list:
    """The examples with what the policy says of them before training, without its adapter."""
    if not asked:
        return without_reference(examples)
    with as_reference(model, None) as reference:
        return with_reference(reference, examples, tokenizer, compute)


def run_dpo(settings: DPO, given: dict) -> int:
    """Learn what people prefer, directly: the chosen answers become likelier than the rejected, near to what was.

    python train.py dpo                                  letters about tales, on the newest run of letters
    python train.py dpo --method lora                    the policy as an adapter; the reference costs nothing
    python train.py dpo --data pairs.jsonl --loss ipo    your pairs: {"prompt", "chosen", "rejected"}

    The loss begins at ln 2. Both log-probabilities may fall while the margin grows; that is how it works.
    """
    refuse_dropout(given)
    settings = settings_that_hold(settings, given, "dpo")
    if not settings.resume:
        settings = replace(settings, from_=start(settings).path)
    loss = loss_named(settings.loss, settings.beta, settings.gamma, settings.label_smoothing)
    average = settings.loss == "simpo"
    task = Task(
        stage="dpo",
        files=("preferences",),
        read=read_preferences,
        labels=None,
        example=answers_of,
        objective=direct_preference(loss, average),
        report=report,
        baselines=no_baselines,
        head=None,
        build=build,
        batches=batches,
        answer=answers,
        enrich=partial(beside_reference, asked=not average),
        watch=lambda model, valid, compute: margins(model, valid, loss, compute, average),
    )
    return run_finetune(task, settings, given)


def no_baselines(parts: Parts, names: list[str], settings: DPO) -> dict:
    """The policy before is in the scores already."""
    return {}
