"""Remedies against forgetting: penalties counted once, Fisher information known in closed form, averages, transfer."""

import itertools

import pytest
import torch
from torch import nn

from minillm.data import IGNORE_INDEX, Windows, tokenize
from minillm.models import BigramLM, Decoder, ModelConfig, SequenceClassifier
from minillm.system import Compute, seed_everything
from minillm.text import Tokenizer
from minillm.training import (
    TrainConfig,
    average_score,
    backward_transfer,
    causal_lm,
    classification,
    ewc,
    fisher_diagonal,
    fit,
    forward_transfer,
    interpolate,
    l2_sp,
    mean_loss,
    next_tokens,
    weights_of,
)
from minillm.training.forgetting import average

TOKENIZER = Tokenizer.characters("abc")


def decoder(seed=0, **changes):
    """A small model whose every weight has something to say."""
    seed_everything(seed)
    size = {"vocab_size": TOKENIZER.vocab_size, "context": 12, "layers": 2, "width": 8, "heads": 2} | changes
    model = Decoder(ModelConfig(**size))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def config(**changes):
    once = {"steps": 1, "optimizer": "adamw", "warmup": 0, "decay": "constant", "device": "cpu", "dtype": "fp32"}
    return TrainConfig(**(once | changes))


def ragged(rows=8):
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 3, (rows, 12), generator=generator)
    lengths = torch.tensor([12, 3, 7, 1, 12, 5, 2, 9])[:rows]
    real = torch.arange(12) < lengths[:, None]
    return {"input_ids": ids, "labels": ids.masked_fill(~real, IGNORE_INDEX), "attention_mask": real.long()}


def elsewhere(model):
    """Old weights at some distance, and a stiffness for each."""
    generator = torch.Generator().manual_seed(7)
    start = {name: w + 0.1 * torch.randn(w.shape, generator=generator) for name, w in weights_of(model).items()}
    return start, {name: torch.rand(w.shape, generator=generator) for name, w in start.items()}


def slow_l2_sp(model, start, alpha, beta):
    total = 0.0
    for name, parameter in model.named_parameters():
        for i, w in enumerate(parameter.flatten()):
            total += alpha / 2 * (w - start[name].flatten()[i]) ** 2 if name in start else beta / 2 * w**2
    return total


# Penalties on the distance from the old weights


def test_l2_sp_is_the_loss_plus_the_two_sums_of_the_paper_in_value_and_gradient():
    model = SequenceClassifier(decoder(layers=1, width=4), 3)
    nn.init.normal_(model.head.weight)
    start = {name: w for name, w in elsewhere(model)[0].items() if name.startswith("trunk.")}
    batch = {"input_ids": ragged()["input_ids"], "labels": torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])}
    total, count = l2_sp(classification, start, 0.3, 0.7)(model, batch)
    raw, terms = classification(model, batch)
    expected = raw / terms + slow_l2_sp(model, start, 0.3, 0.7)
    assert count == terms
    torch.testing.assert_close(total / count, expected)
    ours, theirs = (torch.autograd.grad(loss, list(model.parameters())) for loss in (total / count, expected))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b)


def test_ewc_weighs_each_step_away_by_its_fisher_information():
    model = decoder()
    start, fisher = elsewhere(model)
    del fisher["head.weight"]  # nothing is known of it, nothing holds it
    total, count = ewc(causal_lm, start, fisher, 3.0)(model, ragged())
    raw, _ = causal_lm(model, ragged())
    pull = sum(
        3.0 / 2 * (F * (dict(model.named_parameters())[name] - start[name]) ** 2).sum() for name, F in fisher.items()
    )
    torch.testing.assert_close(total / count, raw / count + pull)


def test_after_two_tasks_ewc_finds_the_minimum_that_can_be_worked_out_by_hand():
    """1/2 (w - 3)^2 + 4/2 * 0.5 (w - 1)^2 is least at (3 + 2 * 1) / (1 + 2)."""
    model = nn.Linear(1, 1, bias=False)
    loss = ewc(
        lambda model, batch: (model.weight - 3).square().sum() / 2,
        *({"weight": torch.full((1, 1), v)} for v in (1.0, 0.5)),
        4.0,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    fit(model, loss, [{}], config(steps=12, clip=0.0), optimizer=optimizer, progress=False)
    assert model.weight.item() == pytest.approx(5 / 3, abs=1e-5)


@pytest.mark.parametrize("micro", [1, 2, 4])
@pytest.mark.parametrize("wrap", ["l2_sp", "ewc"])
def test_a_step_of_ragged_micro_batches_counts_the_penalty_once(wrap, micro):
    whole = ragged()
    parts = [{k: v[i : i + micro] for k, v in whole.items()} for i in range(0, 8, micro)]
    large, small = decoder(), decoder()
    start, fisher = elsewhere(large)
    loss = l2_sp(causal_lm, start, 5.0) if wrap == "l2_sp" else ewc(causal_lm, start, fisher, 5.0)
    a = fit(large, loss, [whole], config(), progress=False)
    b = fit(small, loss, parts, config(accumulate=8 // micro), progress=False)
    raw, terms = causal_lm(decoder(), whole)
    penalised, _ = loss(decoder(), whole)
    assert penalised > raw + terms  # the penalty is no small thing here
    assert a.records[0]["loss"] == pytest.approx((penalised / terms).item(), rel=1e-5)
    assert b.records[0]["loss"] == pytest.approx(a.records[0]["loss"], rel=1e-5)
    assert b.records[0]["grad_norm"] == pytest.approx(a.records[0]["grad_norm"], rel=1e-5)
    for p, q in zip(large.parameters(), small.parameters()):
        torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-4)


def test_a_plain_mean_may_be_penalised_too_and_a_batch_without_labels_does_no_harm():
    model = decoder()
    start, _ = elsewhere(model)
    total, count = l2_sp(lambda model, batch: torch.tensor(2.0), start, 0.5)(model, {})
    assert count == 1 and total.item() == pytest.approx(2 + slow_l2_sp(model, start, 0.5, 0).item(), rel=1e-5)
    empty = {**ragged(), "labels": torch.full((8, 12), IGNORE_INDEX)}
    history = fit(model, l2_sp(causal_lm, start, 0.5), [empty], config(), progress=False)
    assert history.records[0]["loss"] == 0 and history.records[0]["grad_norm"] == 0


def test_a_strong_pull_keeps_the_weights_and_none_lets_them_go():
    tokens = tokenize(["abcab", "ba", "cabbac"] * 20, TOKENIZER)
    gone = []
    for alpha in (0.0, 1.0, 100.0):
        model = decoder()
        start = weights_of(model)
        loss = l2_sp(causal_lm, start, alpha) if alpha else causal_lm
        fit(model, loss, Windows(tokens, 10, 4, seed=0), config(steps=20), progress=False)
        gone.append(sum((p - start[name]).square().sum().item() for name, p in model.named_parameters()))
    assert gone[0] > 2 * gone[1] > 4 * gone[2]


def test_weights_to_hold_that_the_model_does_not_have_are_an_error():
    model = decoder()
    with pytest.raises(ValueError, match=r"no weight to hold: none is named as trunk\.a"):
        l2_sp(causal_lm, {"trunk.a": torch.zeros(2)}, 1.0)(model, ragged())
    with pytest.raises(ValueError, match="none is named as any given"):
        ewc(causal_lm, weights_of(model), {}, 1.0)(model, ragged())
    with pytest.raises(ValueError, match=r"head.weight is \[\d+, 8\] in this model and was \[1, 8\]"):
        l2_sp(causal_lm, {"head.weight": torch.zeros(1, 8)}, 1.0)(model, ragged())


# Fisher information


def softmax_regression(examples=3, features=3, classes=4):
    seed_everything(3)
    model = nn.Linear(features, classes)
    nn.init.normal_(model.weight)
    x = torch.randn(examples, features)
    return model, {"x": x, "labels": torch.randint(classes, (examples,))}


def regress(model, batch):
    return model(batch["x"]), batch["labels"]


def test_drawn_labels_give_the_fisher_information_of_a_softmax_regression():
    """d log p(y) / d W_kc = (1[y = k] - p_k) x_c, so that its mean square over y is p_k (1 - p_k) x_c^2."""
    model, batch = softmax_regression()
    p = model(batch["x"]).softmax(-1)  # (N, K)
    variance = p * (1 - p)
    generator = torch.Generator().manual_seed(0)
    found = fisher_diagonal(model, regress, itertools.repeat(batch, 500), generator)
    torch.testing.assert_close(found["weight"], (variance.T @ batch["x"] ** 2) / 3, rtol=0.1, atol=0.03)
    torch.testing.assert_close(found["bias"], variance.mean(0), rtol=0.1, atol=0.03)  # three standard errors
    assert not torch.allclose(fisher_diagonal(model, regress, [batch])["bias"], variance.mean(0), rtol=0.1)  # empirical


def test_the_empirical_fisher_of_texts_equals_a_loop_over_them():
    model = decoder(dropout=0.3).train()
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    whole = ragged()
    quiet = decoder(dropout=0.3).eval()
    for i, length in enumerate(whole["attention_mask"].sum(1).tolist()):
        quiet.zero_grad()
        if length > 1:
            ids = whole["input_ids"][i : i + 1, :length]
            logprobs = quiet(ids).log_softmax(-1)[0, :-1]
            logprobs.gather(1, ids[0, 1:, None]).sum().backward()  # the whole text's, then squared
        for name, p in quiet.named_parameters():
            expected[name] += (p.grad if p.grad is not None else torch.zeros_like(p)) ** 2 / 8
    halves = [{k: v[:3] for k, v in whole.items()}, {k: v[3:] for k, v in whole.items()}]
    found = fisher_diagonal(model, next_tokens, halves)
    assert model.training and all(p.grad is None for p in model.parameters())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_the_fisher_information_of_a_text_is_the_sum_over_its_tokens():
    """Of a bigram table: row a has p (1 - p) for each time that a stands in the text."""
    model = BigramLM(4)
    nn.init.normal_(model.table.weight, generator=torch.Generator().manual_seed(0))
    text = torch.tensor([[0, 1, 1, 2, 1, 3]])
    p = model.table.weight.detach().softmax(-1)
    expected = torch.tensor([1.0, 3, 1, 0])[:, None] * p * (1 - p)  # the last token predicts nothing
    batches = itertools.repeat({"input_ids": text, "labels": text}, 1000)
    found = fisher_diagonal(model, next_tokens, batches, torch.Generator().manual_seed(1))["table.weight"]
    torch.testing.assert_close(found, expected, rtol=0.15, atol=0.02)
    assert (found[3] == 0).all()


def test_drawn_labels_stand_where_labels_count_and_one_seed_draws_them_again():
    model = SequenceClassifier(decoder(), 3)  # logits (B, K) of zeros: every class equally likely
    predict = lambda model, batch: (model(batch["input_ids"], batch["attention_mask"]), batch["kind"])  # noqa: E731
    batch = {**ragged(), "kind": torch.tensor([0, IGNORE_INDEX] * 4)}
    draw = lambda seed: fisher_diagonal(model, predict, [batch], torch.Generator().manual_seed(seed))["head.bias"]  # noqa: E731
    assert torch.equal(draw(0), draw(0))
    # A drawn label has the gradient 1 - 1/3 once and -1/3 twice; half of the examples have none.
    assert draw(0).sum().item() == pytest.approx(0.5 * (4 / 9 + 2 / 9))


def test_frozen_weights_have_no_fisher_information_and_nothing_gives_none():
    model = decoder()
    model.embedding.requires_grad_(False)
    assert fisher_diagonal(model, next_tokens, [ragged(2)]).keys() == dict(model.named_parameters()).keys() - {
        "embedding.weight"
    }
    for nothing, batches in ((model, []), (decoder().requires_grad_(False), [ragged(2)])):
        with pytest.raises(ValueError, match="needs an example, and a weight that is not frozen"):
            fisher_diagonal(nothing, next_tokens, batches)


def test_ewc_with_its_fisher_forgets_less_than_no_remedy():
    old, new = (tokenize([text] * 80, TOKENIZER) for text in ("aabb", "abcc"))
    compute = Compute(torch.device("cpu"), torch.float32)
    lost = lambda model: mean_loss(model, causal_lm, itertools.islice(Windows(old, 10, 8), 4), compute)  # noqa: E731
    many = config(steps=40, learning_rate=0.01)
    before = decoder()
    fit(before, causal_lm, Windows(old, 10, 8, seed=0), many, progress=False)
    fisher = fisher_diagonal(
        before, next_tokens, itertools.islice(Windows(old, 10, 8), 4), torch.Generator().manual_seed(0)
    )
    results = {}
    for strength in (0.0, 100.0):
        model = decoder()
        model.load_state_dict(before.state_dict())
        loss = ewc(causal_lm, weights_of(before), fisher, strength)
        fit(model, loss, Windows(new, 10, 8, seed=1), many, progress=False)
        results[strength] = lost(model)
    assert lost(before) < results[100.0] < results[0.0] - 0.5


# Averages of weights


def test_interpolation_gives_back_its_ends_and_the_middle_is_the_average():
    a, b = decoder(0).state_dict(), decoder(1).state_dict()
    assert all(torch.equal(interpolate(a, b, 0.0)[k], a[k]) and torch.equal(interpolate(a, b, 1.0)[k], b[k]) for k in a)
    for name, middle in interpolate(a, b, 0.5).items():
        torch.testing.assert_close(middle, average([a, b])[name])
    for name, quarter in interpolate(a, b, 0.25).items():
        torch.testing.assert_close(quarter, 0.75 * a[name] + 0.25 * b[name])
    model = decoder(2)
    model.load_state_dict(average([a, b, model.state_dict()]))


def test_of_a_linear_model_the_interpolated_weights_are_the_ensemble():
    """Wortsman et al. 2022: for a linear model, averaging weights is averaging outputs."""
    seed_everything(0)
    a, b, c = (nn.Linear(4, 3) for _ in range(3))
    x = torch.randn(5, 4)
    c.load_state_dict(interpolate(a.state_dict(), b.state_dict(), 0.3))
    torch.testing.assert_close(c(x), 0.7 * a(x) + 0.3 * b(x))


def test_averages_leave_whole_numbers_alone_and_refuse_what_does_not_belong_together():
    a, b = {"w": torch.zeros(2), "n": torch.tensor(3)}, {"w": torch.ones(2), "n": torch.tensor(5)}
    assert interpolate(a, b, 0.5)["n"] == average([a, b])["n"] == 5
    with pytest.raises(ValueError, match=r"share of the later weights is 1\.5"):
        interpolate(a, b, 1.5)
    with pytest.raises(ValueError, match="they differ in n, w"):
        interpolate(a, {"w": torch.zeros(3)}, 0.5)
    with pytest.raises(ValueError, match="different models"):
        average([a, {"w": torch.zeros(2)}])
    with pytest.raises(ValueError, match="no weights"):
        average([])


# Measures


def test_transfer_on_a_table_worked_out_by_hand():
    scores = [[0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.4, 0.6, 1.0]]
    assert average_score(scores) == pytest.approx((0.4 + 0.6 + 1.0) / 3)
    assert backward_transfer(scores) == pytest.approx(((0.4 - 0.9) + (0.6 - 0.8)) / 2)
    assert forward_transfer(scores, [0.5, 0.1, 0.05]) == pytest.approx(((0.2 - 0.1) + (0.3 - 0.05)) / 2)
    example = [[0.9, 0.1], [0.6, 0.8]]
    assert (average_score(example), backward_transfer(example), forward_transfer(example, [0, 0])) == pytest.approx(
        (0.7, -0.3, 0.1)
    )


def test_tables_that_say_nothing_of_transfer_are_refused():
    assert average_score([[0.5]]) == 0.5
    for function in (backward_transfer, lambda table: forward_transfer(table, [0])):
        with pytest.raises(ValueError, match="at least 2 tasks"):
            function([[0.5]])
    for table in ([], [[0.5, 0.1]], [[1, 2], [3]]):
        with pytest.raises(ValueError, match="must be square"):
            average_score(table)
    with pytest.raises(ValueError, match="3 baselines for 2 tasks"):
        forward_transfer([[1, 2], [3, 4]], [0, 0, 0])
