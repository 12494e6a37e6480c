"""Several sources in one stream: in their shares, in an order that a seed decides, and resumed anywhere."""

import itertools

import pytest
import torch

from minillm.data import Mixed, Padded, Windows, tokenize
from minillm.models import Decoder, ModelConfig
from minillm.system import seed_everything
from minillm.text import Tokenizer
from minillm.training import RunFolder, TrainConfig, causal_lm, describe, fit

TOKENIZER = Tokenizer.characters("abc")
NEW, OLD = (tokenize([text] * 30, TOKENIZER) for text in ("abcab", "cbbba"))


def sources():
    """Windows of one task, and padded examples, of another shape, of the other."""
    examples = [{"input_ids": [3] * n, "labels": [3] * n} for n in (2, 3, 5, 4, 6)]
    return [Windows(NEW, 8, 4, seed=1), Padded(examples, 0, 3, seed=2)]


def stream(mixed, count):
    return list(itertools.islice(mixed.forever(), count))


def same(a, b):
    return len(a) == len(b) and all(
        x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in zip(a, b)
    )


def test_sources_come_in_their_shares_and_each_in_its_own_order():
    drawn = stream(Mixed(sources(), [3, 1], seed=5), 400)
    first, second = ([b for b in drawn if ("attention_mask" in b) == padded] for padded in (False, True))
    assert len(first) / 400 == pytest.approx(0.75, abs=0.06)
    assert same(first, list(itertools.islice(sources()[0].forever(), len(first))))
    assert same(second, list(itertools.islice(sources()[1].forever(), len(second))))


def test_draws_do_not_depend_on_those_before_them():
    mixed = Mixed(sources(), [1, 1])
    draws = torch.tensor([mixed.source(n) for n in range(2000)])
    after_a_one = draws[1:][draws[:-1] == 1].float().mean()
    assert after_a_one.item() == pytest.approx(0.5, abs=0.05)


def test_without_weights_every_batch_is_drawn_about_equally_often():
    mixed = Mixed(sources())
    windows, padded = map(len, sources())
    assert len(mixed) == windows + padded == mixed.weights.sum()
    draws = [mixed.source(n) for n in range(3000)]
    assert sum(draws) / 3000 == pytest.approx(padded / (windows + padded), abs=0.02)


def test_a_source_of_weight_nothing_never_comes_and_one_source_alone_is_itself():
    assert same(stream(Mixed(sources(), [1, 0]), 20), list(itertools.islice(sources()[0].forever(), 20)))
    assert same(stream(Mixed(sources()[1:]), 5), list(itertools.islice(sources()[1].forever(), 5)))


@pytest.mark.parametrize("stop", [0, 1, 7, 23])
def test_the_stream_resumes_anywhere_and_another_seed_is_another_stream(stop):
    straight = stream(Mixed(sources(), [2, 1], seed=3), 30)
    before = Mixed(sources(), [2, 1], seed=3)
    stream(before, stop)
    resumed = Mixed(sources(), [2, 1], seed=3)
    resumed.load_state_dict(before.state_dict())
    assert same(straight[stop:], stream(resumed, 30 - stop))
    assert not same(straight, stream(Mixed(sources(), [2, 1], seed=4), 30))


def test_weights_that_are_none_are_refused():
    with pytest.raises(ValueError, match="1 weights for 2 sources"):
        Mixed(sources(), [1.0])
    for weights in ([0, 0], [1, -1]):
        with pytest.raises(ValueError, match="none may be negative, and one must be positive"):
            Mixed(sources(), weights)
    with pytest.raises(ValueError, match="the weights are"):
        Mixed([])


def test_an_interrupted_run_on_a_mixture_resumes_bit_for_bit(tmp_path):
    def model():
        seed_everything(0)
        return Decoder(ModelConfig(TOKENIZER.vocab_size, context=16, layers=1, width=8, heads=2))

    def batches():
        return Mixed([Windows(NEW, 8, 4, seed=1), Windows(OLD, 12, 2, seed=2)], [2, 1], seed=3)

    def interrupted(model, batch):
        calls.append(batch)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return causal_lm(model, batch)

    calls, settings = [], TrainConfig(steps=8, accumulate=2, eval_every=3, warmup=0, device="cpu", dtype="fp32")
    straight, again = model(), model()
    fit(straight, causal_lm, batches(), settings, progress=False)
    run = RunFolder(tmp_path)
    run.save_config(stage="pretrain", model=describe(again))
    with pytest.raises(KeyboardInterrupt):  # in step 4, after the checkpoint of step 3
        fit(model(), interrupted, batches(), settings, run=run, progress=False)
    fit(again, causal_lm, batches(), settings, run=run, resume=True, progress=False)
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), again.parameters()))
