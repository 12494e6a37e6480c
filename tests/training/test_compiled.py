"""Model and loss as one graph: nothing breaks it, other shapes hardly make another, and it learns the same."""

import functools
import sys
from pathlib import Path

import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters

from minillm import peft
from minillm.align import direct_preference, loss_named, pair_of_answers, preference, without_reference
from minillm.data import IGNORE_INDEX, Padded, Windows, tokenize
from minillm.models import Decoder, Encoder, ModelConfig, RewardModel, SequenceClassifier
from minillm.text import Tokenizer
from minillm.training import (
    TrainConfig,
    causal_lm,
    causal_lm_by_parts,
    classification,
    fit,
    masked_lm,
    penalised,
    prepared,
    recompute,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "align"))
from toys import TOKENIZER, decoder, preferences

ABC = Tokenizer.characters("abc")
TOKENS = tokenize(["abcab", "ba", "cabbacabbacabba", "a", "bcbc"] * 40, ABC)
ROWS = [list(range(1, 3 + i % 7)) for i in range(40)]
EXAMPLES = [{"input_ids": ids, "labels": [IGNORE_INDEX, *ids[1:]]} for ids in ROWS]
PAIRS = without_reference([pair_of_answers(*pair, TOKENIZER, 32) for pair in preferences(12)])


def model(kind=Decoder, **changes):
    torch.manual_seed(0)
    return kind(ModelConfig(**({"vocab_size": 40, "context": 40, "layers": 2, "width": 16, "heads": 2} | changes)))


def windows():
    return Windows(TOKENS, 16, 4, seed=3)


def padded(examples=EXAMPLES, **more):
    return Padded(examples, 0, 4, seed=1, **more)


def adapted(method):
    made = peft.inject(model(), peft.METHODS[method](), generator=torch.Generator().manual_seed(1))
    peft.freeze(made)
    return made


class Classes(Padded):
    """Batches with a class for each text."""

    def batch(self, rows):
        return super().batch(rows) | {"labels": rows % 2}


CASES = {
    "pretrain": lambda: (causal_lm, model(), windows()),
    "gpt2": lambda: (causal_lm, model(recipe="gpt2", dropout=0.1), windows()),
    "llama": lambda: (causal_lm, model(recipe="llama"), windows()),
    "recomputed": lambda: (causal_lm, recompute(model()), windows()),
    "large vocabulary": lambda: (causal_lm_by_parts, model(), windows()),
    "sft": lambda: (causal_lm, model(), padded()),
    "dpo": lambda: (direct_preference(loss_named("dpo")), decoder(), padded(PAIRS, causal=True)),
    "simpo": lambda: (direct_preference(loss_named("simpo"), True), decoder(), padded(PAIRS, causal=True)),
    "reward": lambda: (preference(), RewardModel(decoder()), padded(PAIRS)),
    "mlm": lambda: (masked_lm, model(Encoder), padded()),
    "classify": lambda: (classification, SequenceClassifier(model(Encoder), 2), Classes(EXAMPLES, 0, 4, seed=1)),
    "adalora": lambda: (penalised(causal_lm, peft.orthogonality), adapted("adalora"), padded()),
    **{method: lambda method=method: (causal_lm, adapted(method), padded()) for method in ("lora", "prompt", "prefix")},
}


@pytest.mark.parametrize(
    "case",
    [case if case in ("pretrain", "sft", "dpo") else pytest.param(case, marks=pytest.mark.compiled) for case in CASES],
)
def test_model_and_loss_are_one_graph(case):
    torch._dynamo.reset()
    loss, made, batches = CASES[case]()
    batch = prepared(loss, made, next(batches.forever()), steady=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch._dynamo.explain(loss)(made, batch)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


@pytest.mark.compiled
@pytest.mark.parametrize("case", ["pretrain", "sft", "dpo"])
def test_a_compiled_run_learns_the_same_and_other_shapes_make_few_more_graphs(case, monkeypatch):
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    losses = []
    for compile in (True, False):
        loss, made, batches = CASES[case]()
        config = TrainConfig(steps=12, device="cpu", dtype="fp32", compile=compile, learning_rate=1e-3)
        losses.append(fit(made, loss, batches, config, progress=False).series("loss")[1])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert 1 <= counters["stats"]["unique_graphs"] <= 3 and not counters["graph_break"]
