"""DPO: where it begins, what the reference is, and that nothing depends on how pairs are put together."""

import math

import pytest
import torch
from toys import FP32, TOKENIZER, ask, decoder, preferences, same, weights

from minillm import peft
from minillm.align import (
    direct_preference,
    logprobs_of_batch,
    loss_named,
    margins,
    pair_of_answers,
    train_dpo,
    with_reference,
)
from minillm.data import Padded
from minillm.peft import adapters
from minillm.system import Compute
from minillm.training import TrainConfig, dpo_loss, ipo_loss, sequence_logprobs, simpo_loss

COMPUTE = Compute(torch.device("cpu"), torch.float32)
PAIRS = preferences(10)


def config(**changes):
    rates = {"learning_rate": 2e-3, "matrix_learning_rate": 2e-3, "warmup": 0}
    return TrainConfig(**({"steps": 4, "eval_every": 100, **rates, **FP32} | changes))


def train(policy, pairs=PAIRS, reference=None, settings=None, **more):
    return train_dpo(policy, TOKENIZER, pairs, settings or config(), reference=reference, progress=False, **more)


def with_lora(dropout=0.0, **changes):
    generator = torch.Generator().manual_seed(1)
    policy = peft.inject(decoder(**changes), peft.LoRA(rank=4, dropout=dropout), generator=generator)
    peft.freeze(policy)
    return policy


def alone(model, pair, average=False):
    """What a model says of both answers, each by itself, without padding."""
    found = []
    for example in pair_of_answers(*pair, TOKENIZER, 32):
        ids, labels = torch.tensor([example["input_ids"]]), torch.tensor([example["labels"]])
        found.append(sequence_logprobs(model(ids), labels, average))
    return found


@pytest.mark.parametrize("make", [decoder, with_lora])
def test_the_loss_begins_at_ln_2_with_margin_0_and_dropout_draws_nothing(make):
    histories = []
    for policy in (make(), make(dropout=0.5)):
        before = margins_of(policy, policy)
        assert before["val_loss"] == pytest.approx(math.log(2), abs=1e-6)
        for name in ("margin", "chosen_reward", "rejected_reward"):  # rounded elsewhere: other texts stood beside it
            assert before[name] == pytest.approx(0, abs=1e-6)
        histories.append(train(policy.train()).records)
    assert histories[0][0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert histories[0] == histories[1] and histories[0][-1]["loss"] < math.log(2) - 1e-3


def margins_of(policy, reference, size=3):
    examples = [pair_of_answers(*pair, TOKENIZER, 32) for pair in PAIRS]
    batches = Padded(
        with_reference(reference, examples, TOKENIZER, COMPUTE, batch_size=size), TOKENIZER.pad_id, 3, causal=True
    )
    with torch.no_grad():
        return margins(policy, batches, loss_named("dpo", 0.1), COMPUTE)


def test_how_often_the_chosen_answer_is_the_likelier_one_a_token_is_that_of_a_loop():
    policy, reference = decoder(), decoder(seed=2)
    found = margins_of(policy, reference)
    assert found["likelier"] != found["likelier_before"]  # so that each is told from the other
    for name, model in (("likelier", policy), ("likelier_before", reference)):
        rows = [torch.cat(alone(model, pair, average=True)).tolist() for pair in PAIRS]
        assert found[name] == pytest.approx(sum(a > b for a, b in rows) / len(PAIRS))


@pytest.mark.parametrize("name", ["dpo", "ipo", "simpo"])
@pytest.mark.parametrize("recipe", ["minillm", "gpt2"])
def test_the_objective_equals_a_loop_over_single_answers_however_they_are_put_together(name, recipe):
    policy, reference, average = decoder(recipe=recipe), decoder(seed=1, recipe=recipe), name == "simpo"
    mine = torch.stack([torch.cat(alone(policy, pair, average)) for pair in PAIRS]).unbind(1)
    theirs = torch.stack([torch.cat(alone(reference, pair)) for pair in PAIRS]).unbind(1)
    expected = {
        "dpo": lambda: dpo_loss(*mine, *theirs, beta=0.3, label_smoothing=0.1),
        "ipo": lambda: ipo_loss(*mine, *theirs, tau=0.3),
        "simpo": lambda: simpo_loss(*mine, beta=0.3, gamma=0.7),
    }[name]()[0]
    own = {"dpo": {"label_smoothing": 0.1}, "ipo": {}, "simpo": {"gamma": 0.7}}[name]
    objective = direct_preference(loss_named(name, 0.3, **own), average)
    for size, pairs in ((1, PAIRS), (3, PAIRS), (10, PAIRS[::-1])):
        examples = [pair_of_answers(*pair, TOKENIZER, 32) for pair in pairs]
        kept = with_reference(reference, examples, TOKENIZER, COMPUTE, batch_size=size)
        parts = [objective(policy, batch) for batch in Padded(kept, TOKENIZER.pad_id, size, causal=True)]
        assert sum(count for _, count in parts) == 10
        assert sum(total.item() for total, _ in parts) / 10 == pytest.approx(expected.item(), abs=1e-5)
        masked = [objective(policy, batch) for batch in Padded(kept, TOKENIZER.pad_id, size)]  # with a mask
        assert [t.item() for t, _ in masked] == pytest.approx([t.item() for t, _ in parts], rel=1e-4)


def test_what_the_reference_said_once_is_what_it_would_say_again():
    reference = decoder(seed=1, dropout=0.5).train()
    examples = [pair_of_answers(*pair, TOKENIZER, 32) for pair in PAIRS]
    kept = with_reference(reference, examples, TOKENIZER, COMPUTE, batch_size=3)
    assert reference.training and not any(p.grad is not None for p in reference.parameters())
    reference.eval()
    for pair, (better, worse) in zip(PAIRS, kept):
        assert [better["reference"], worse["reference"]] == pytest.approx(
            [x.item() for x in alone(reference, pair)], abs=1e-5
        )


def test_a_reference_may_be_a_copy_or_the_policy_as_it_is_or_nothing():
    policies = [decoder() for _ in range(3)]
    for policy, reference in zip(policies, (None, policies[1], decoder())):
        train(policy, reference=reference)
    assert same(weights(policies[0]), weights(policies[1])) and same(weights(policies[0]), weights(policies[2]))
    assert not same(weights(policies[0]), weights(decoder()))


def test_an_adapter_learns_against_its_own_trunk_which_stays_as_it_was():
    policy, twin, bare = with_lora(), with_lora(), weights(decoder())
    a, b = train(policy), train(twin, reference=decoder())
    assert a.records == b.records and same(weights(policy), weights(twin))
    assert a.records[-1]["loss"] < a.records[0]["loss"]
    assert all(adapter.strength == 1 for _, adapter in adapters(policy))
    assert same(weights(peft.remove(policy)), bare)


@pytest.mark.parametrize("loss, beta, more", [("dpo", 0.1, {}), ("ipo", 0.1, {}), ("simpo", 2.0, {"gamma": 0.3})])
def test_unseen_pairs_come_into_the_right_order(loss, beta, more):
    policy = decoder()
    valid = preferences(40, seed=1)
    settings = config(steps=50, eval_every=50, learning_rate=5e-3, matrix_learning_rate=5e-3)
    history = train(
        policy, preferences(160), settings=settings, loss=loss, beta=beta, valid=valid, batch_size=8, **more
    )
    last = history.records[-1]
    assert last["accuracy"] >= 0.85 and last["loss"] < history.records[0]["loss"]
    assert (
        last["margin"] == pytest.approx(last["chosen_reward"] - last["rejected_reward"], abs=1e-4)
        and last["margin"] > 0
    )
    found = torch.stack([torch.cat(alone(policy, pair, loss == "simpo")) for pair in valid])
    assert last["chosen_logprob"] == pytest.approx(found[:, 0].mean().item(), abs=1e-3)
    if loss == "simpo":  # no reference: its rewards are the log-probabilities themselves
        assert last["chosen_reward"] == pytest.approx(beta * last["chosen_logprob"], abs=1e-3)
    else:
        then = torch.stack([torch.cat(alone(decoder(), pair)) for pair in valid])
        assert last["chosen_reward"] == pytest.approx(beta * (found - then)[:, 0].mean().item(), abs=1e-3)


def test_what_the_assistant_said_before_is_no_part_of_an_answer():
    talk = [*ask("a"), {"role": "assistant", "content": "bcd"}, *ask("c")]
    examples = [pair_of_answers(talk, "de", "f", TOKENIZER, 32)]
    batch = next(iter(Padded(examples, TOKENIZER.pad_id, 1, causal=True)))
    policy, ids = decoder(), torch.tensor([TOKENIZER.apply_chat([*talk, {"role": "assistant", "content": "de"}])[0]])
    logprobs = policy(ids)[0].log_softmax(-1)
    expected = sum(logprobs[place - 1, ids[0, place]].item() for place in range(ids.size(1) - 3, ids.size(1)))
    assert logprobs_of_batch(policy, batch)[0].item() == pytest.approx(expected, abs=1e-5)
    assert logprobs_of_batch(policy, batch, average=True)[0].item() == pytest.approx(expected / 3, abs=1e-5)


def test_pairs_and_models_from_which_nothing_can_be_learned_are_refused():
    policy = decoder()
    before = weights(policy)
    for pairs, sentence in (
        ([], "no pairs of answers to learn from"),
        ([(ask("a"), "b", "b")], "the chosen and the rejected answer are the same"),
        ([*PAIRS, (ask("a"), "b", "")], "the rejected answer is empty"),
        ([(ask("a" * 40), "b", "c")], "a prompt of 43 tokens leaves no room for an answer in a context of 32"),
    ):
        with pytest.raises(ValueError, match=sentence):
            train(policy, pairs)
    with pytest.raises(ValueError, match="unknown loss 'kto': choose one of dpo, ipo, simpo"):
        train(policy, loss="kto")
    for beta in (0, -0.1, math.nan):
        with pytest.raises(ValueError, match=rf"beta .* is {beta}: it must be positive"):
            train(policy, beta=beta)
    for loss, setting, value, owner in (
        ("dpo", "gamma", 0.5, "simpo"),
        ("ipo", "gamma", 0.5, "simpo"),
        ("ipo", "label_smoothing", 0.0, "dpo"),
        ("simpo", "label_smoothing", 0.1, "dpo"),
    ):
        with pytest.raises(ValueError, match=f"{setting} is a setting of {owner}, and {loss} has none: leave it out"):
            train(policy, loss=loss, **{setting: value})
    with pytest.raises(ValueError, match=r"label_smoothing is 0\.5: .* below 0\.5, which is a coin"):
        train(policy, label_smoothing=0.5)
    other = decoder(tokenizer=TOKENIZER.characters("abc"))
    with pytest.raises(ValueError, match="the reference reads 12 different tokens and the tokenizer has 18"):
        train(policy, reference=other)
    with pytest.raises(ValueError, match="the policy reads 12 different tokens"):
        train(other)
    assert same(before, weights(policy))


def test_without_a_beta_each_loss_has_its_own():
    four = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    for name, beta in {"dpo": 0.1, "ipo": 0.1, "simpo": 2.0}.items():
        assert torch.equal(loss_named(name)(*four)[0], loss_named(name, beta)(*four)[0])
