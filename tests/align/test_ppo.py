"""PPO: where it begins, what it may move, what it must go on from, and that it finds what is rewarded."""

import copy
import itertools
import json
import os
import re
import signal
import warnings

import pytest
import torch
from toys import FP32, PROMPTS, TOKENIZER, ask, decoder, same, share, various, weights

import minillm.inference.generation
from minillm import peft
from minillm.align import PPO, PPOConfig, RewardModelScorer, as_reference, reference_of
from minillm.align import ppo as module
from minillm.align.ppo import train_ppo
from minillm.align.rollout import Rollout, sample
from minillm.data import IGNORE_INDEX
from minillm.inference import filter_logits
from minillm.models import LSTMLM, LSTMConfig, RewardModel
from minillm.peft import AdapterRun, adapters
from minillm.peft.files import METHODS
from minillm.system import Compute, load_file, save_file
from minillm.training import RunFolder, causal_lm, describe

SETTINGS = {"rounds": 3, "batch_size": 8, "minibatch_size": 4, "max_new_tokens": 6, "learning_rate": 5e-3, **FP32}


def config(**changes):
    return PPOConfig(**(SETTINGS | changes))


def train(policy, reward=None, evaluate=None, prompts=PROMPTS, reference=None, run=None, resume=False, **changes):
    reward, more = reward or various, {"reference": reference, "run": run, "resume": resume, "progress": False}
    return train_ppo(policy, TOKENIZER, prompts, reward, config(**changes), evaluate, **more)


def loop(policy, reward=None, reference=None, **changes):
    return PPO(policy, TOKENIZER, PROMPTS, reward or various, config(**changes), reference, None)


def sample_of(run):
    return sample(run.policy, TOKENIZER, run.asked(), 6, generator=run.generator)


def with_lora(seed=0, dropout=0.0, **changes):
    policy = peft.inject(
        decoder(seed, **changes), peft.LoRA(rank=4, dropout=dropout), generator=torch.Generator().manual_seed(1)
    )
    peft.freeze(policy)
    return policy


@pytest.mark.parametrize("make", [decoder, with_lora])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_before_the_first_update_the_ratio_is_1_and_the_distance_0(make, temperature):
    first, *later = train(make(dropout=0.3), temperature=temperature).records
    assert first["first_ratio"] == pytest.approx(1, abs=1e-6)
    assert first["kl"] == 0 and first["kl_k3"] == 0
    assert all(record["first_ratio"] == pytest.approx(1, abs=1e-5) and record["kl"] != 0 for record in later)


def noisy_evaluation(model):
    """One that forgets to put the model back."""
    model.train()
    return {}


def test_dropout_makes_no_difference_even_after_an_evaluation_that_left_it_on():
    for make in (decoder, with_lora):
        quiet, noisy = make(), make(dropout=0.5)
        a = train(quiet)
        b = train(noisy, evaluate=noisy_evaluation, evaluate_every=1)
        assert a.records == b.records and same(weights(quiet), weights(noisy))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_answers_are_drawn_from_the_very_probabilities_they_are_held_to(monkeypatch, dtype, temperature):
    run = loop(decoder(), dtype=dtype, temperature=temperature, reference=decoder(seed=1))
    drawn, held = [], []
    choose_token, before = minillm.inference.generation.choose_token, run.before

    def recorded(logits, *settings):
        token = choose_token(logits, *settings)
        drawn.append(filter_logits(logits, *settings[:3]).log_softmax(-1).gather(1, token[:, None]))
        return token

    monkeypatch.setattr(minillm.inference.generation, "choose_token", recorded)
    run.before = lambda rollout: held.append((rollout, before(rollout))) or held[0][1]
    assert run.round()["first_ratio"] == pytest.approx(1, abs=1e-5)
    (rollout, old), drawn = held[0], torch.cat(drawn, dim=1)
    mask = rollout.mask[:, -drawn.size(1) :]
    torch.testing.assert_close(old["logprobs"][rollout.mask], drawn[mask], atol=1e-5, rtol=0)


@pytest.mark.parametrize("key", sorted(METHODS))
def test_every_kind_of_adapter_learns_and_leaves_its_trunk_as_it_was(key):
    settings = {"length": 4} if hasattr(METHODS[key](), "length") else {}
    policy = peft.inject(decoder(), METHODS[key](**settings), generator=torch.Generator().manual_seed(1))
    peft.freeze(policy)
    before = {name: t.clone() for name, t in peft.adapter_state(policy).items()}
    records = train(policy, rounds=2).records
    assert all(record["first_ratio"] == pytest.approx(1, abs=1e-5) for record in records)
    assert not same(before, peft.adapter_state(policy))
    assert same(weights(peft.remove(policy)), weights(decoder()))


def test_a_rewarded_letter_is_written_nearly_always_after_seconds():
    policy = decoder(width=32)
    before = weights(policy)
    history = train(
        policy,
        share("a"),
        rounds=20,
        batch_size=32,
        minibatch_size=16,
        learning_rate=1e-2,
        kl_coef=0.0,
    )
    _, rewards = history.series("reward")
    assert rewards[0] < 0.3 and sum(rewards[-5:]) / 5 >= 0.95
    assert not same(before, weights(policy)) and not policy.training
    assert history.step == 20 and history.tokens == history.records[-1]["tokens"] > 0


def test_the_further_the_reference_counts_the_nearer_the_policy_stays():
    ends = []
    for beta in (0.0, 1.0):
        history = train(
            decoder(), share("a"), rounds=8, batch_size=16, minibatch_size=8, learning_rate=1e-2, kl_coef=beta
        )
        ends.append(sum(history.series("kl_k3")[1][-3:]))
    assert ends[1] < ends[0] / 4


def test_with_an_adapter_the_trunk_is_the_reference_and_stays_as_it_was():
    policy, twin = with_lora(), with_lora()
    bare = weights(decoder())
    assert reference_of(policy) is None
    a = train(policy, kl_coef=0.2)
    b = train(twin, kl_coef=0.2, reference=decoder())
    for one, other in zip(a.records, b.records):
        assert one.pop("sample") == other.pop("sample")
        assert one == pytest.approx(other, abs=1e-6)
    assert a.records[-1]["kl"] != 0
    mine, other = weights(policy), weights(twin)
    for name in mine:
        torch.testing.assert_close(mine[name], other[name], atol=1e-6, rtol=0)
    assert any(not torch.equal(mine[name], w) for name, w in weights(with_lora()).items())
    assert all(adapter.strength == 1 for _, adapter in adapters(policy))
    assert same(weights(peft.remove(policy)), bare)


def test_what_learns_beside_an_adapter_is_not_part_of_the_reference():
    policy = peft.inject(decoder(), peft.LoRA(rank=4))
    peft.freeze(policy, also=["head"])
    run = loop(policy)
    ids = torch.tensor([[1, 2, 3]])
    run.round()
    assert not torch.equal(policy.head.weight, decoder().head.weight)
    assert torch.equal(run.reference(ids), decoder()(ids))


def test_a_reference_that_is_given_is_left_alone():
    reference = decoder(seed=1)
    before = weights(reference)
    history = train(decoder(), reference=reference, kl_coef=0.2)
    assert same(before, weights(reference)) and all(p.grad is None for p in reference.parameters())
    assert history.records[0]["kl"] > 0


def test_advantages_equal_a_loop_over_each_answer_alone():
    """The reward stands at the last token, less beta times the log-ratio at each; GAE; then one scale for all."""
    run = loop(decoder(), reference=decoder(seed=1), kl_coef=0.3, gamma=0.9, lam=0.8)
    torch.nn.init.normal_(run.actor.value.weight)
    torch.manual_seed(0)
    rollout = sample_of(run)
    assert 1 < len(set(rollout.mask.sum(1).tolist()))
    scores, old = torch.randn(len(rollout.answers)), run.before(rollout)
    advantages, returns = run.advantages(rollout, scores, old)
    expected, to_come = [], []
    for row, real in enumerate(rollout.mask):
        values, rewards = old["values"][row, real].tolist(), (-0.3 * old["k1"][row, real]).tolist()
        rewards[-1] += scores[row].item()
        for t in range(len(values)):
            total = 0.0
            for k in range(t, len(values)):
                following = values[k + 1] if k + 1 < len(values) else 0.0
                total += (0.9 * 0.8) ** (k - t) * (rewards[k] + 0.9 * following - values[k])
            expected.append(total)
            to_come.append(total + values[t])
    assert returns[rollout.mask].tolist() == pytest.approx(to_come, abs=1e-5)
    expected = torch.tensor(expected)
    white = (expected - expected.mean()) / expected.std(correction=0)
    torch.testing.assert_close(advantages[rollout.mask], white, atol=1e-4, rtol=0)
    assert not advantages[~rollout.mask].any() and not returns[~rollout.mask].any()


def test_what_is_said_before_learning_does_not_depend_on_who_stands_beside():
    run = loop(decoder(), reference=decoder(seed=1))
    rollout = sample_of(run)
    together = run.before(rollout)
    for row in range(len(rollout.answers)):
        alone = run.before(rollout.rows(torch.tensor([row])))
        for key in together:
            torch.testing.assert_close(alone[key][0], together[key][row], atol=1e-5, rtol=0)


def test_an_answer_without_an_end_costs_what_it_is_said_to():
    run = loop(decoder(), reward=lambda c, a: torch.zeros(len(a)), missing_eos_penalty=0.7)
    rollout = sample_of(run)
    assert 0 < rollout.ended.sum() < len(rollout.ended)
    assert run.scores(rollout).tolist() == pytest.approx([0.0 if ended else -0.7 for ended in rollout.ended])


def test_every_prompt_is_asked_before_any_comes_again_and_every_answer_learned_from_once_a_pass():
    run = loop(decoder(), batch_size=3, minibatch_size=2)
    asked = []
    for run.history.step in range(8):  # 24 prompts of 8
        asked += [PROMPTS.index(prompt) for prompt in run.asked()]
    assert all(sorted(asked[i : i + 8]) == list(range(8)) for i in (0, 8, 16)) and asked[:8] != asked[8:16]
    assert sorted(torch.cat(run.minibatches(11)).tolist()) == list(range(11))
    assert [len(part) for part in run.minibatches(11)] == [2, 2, 2, 2, 2, 1]


@pytest.mark.parametrize("target, factor", [(1e-6, 1 + 0.2 * 8 / 100), (1e6, 1 - 0.2 * 8 / 100)])
def test_beta_moves_towards_the_target_as_in_ziegler_and_no_faster(target, factor):
    records = train(decoder(), target_kl=target, horizon=100, kl_coef=0.1).records
    grew = [b["beta"] / a["beta"] for a, b in itertools.pairwise(records)]
    assert grew == pytest.approx([factor] * 2)
    assert records[0]["beta"] == pytest.approx(0.1 * (1 - 0.2 * 8 / 100))  # the first distance is 0
    near = loop(decoder(), reference=decoder(seed=1), target_kl=1.0, kl_coef=0.1, horizon=100)
    kl = near.round()["kl"]
    again = loop(decoder(), reference=decoder(seed=1), target_kl=kl / 1.1, kl_coef=0.1, horizon=100)
    assert again.round()["beta"] == pytest.approx(0.1 * (1 + 0.1 * 8 / 100))
    assert [record["beta"] for record in train(decoder()).records] == [0.05] * 3


# A run that is killed


def folder(path, policy, adapter=""):
    run = AdapterRun(path, adapter) if adapter else RunFolder(path)
    run.save_config(stage="ppo", model=describe(policy))
    return run


def checkpoint(run):
    """The tensors of a run's checkpoint, and all else in it but the time it took."""
    tensors, metadata = load_file(run.last_file)
    state = json.loads(metadata["state"])
    state["history"].pop("seconds")
    return tensors, state


def stopping(after, kill):
    """A reward that stops the run in its n-th round: politely, or not."""
    calls, good = itertools.count(1), various

    def reward(conversations, answers):
        if next(calls) == after:
            if kill:
                raise RuntimeError("killed")
            os.kill(os.getpid(), signal.SIGINT)
        return good(conversations, answers)

    return reward


@pytest.mark.parametrize(
    "make, adapter, stop, kill",
    [(decoder, "", 1, False), (decoder, "", 4, True), (decoder, "", 5, False), (with_lora, "default", 4, True)],
)
def test_a_run_that_was_stopped_or_killed_resumes_bit_for_bit(tmp_path, make, adapter, stop, kill):
    long = {"rounds": 6, "evaluate_every": 2, "target_kl": 0.5, "horizon": 50}

    def evaluate(model):
        return {"drawn": torch.rand(1).item()}  # whoever evaluates may use the global generator

    torch.manual_seed(7)
    straight = make()
    torch.manual_seed(7)
    one = folder(tmp_path / "straight", straight, adapter)
    train(straight, evaluate=evaluate, run=one, **long)

    torch.manual_seed(7)
    stopped = make()
    torch.manual_seed(7)
    two = folder(tmp_path / "stopped", stopped, adapter)
    if kill:
        with pytest.raises(RuntimeError, match="killed"):
            train(stopped, stopping(stop, kill), evaluate, run=two, **long)
    else:
        history = train(stopped, stopping(stop, kill), evaluate, run=two, **long)
        assert history.stopped == "interrupted" and history.step == stop
    again = make()
    torch.manual_seed(99)  # whatever else happened in the meantime
    history = train(again, evaluate=evaluate, run=two, resume=True, **long)

    assert history.step == 6 and not history.stopped
    assert same(weights(straight), weights(again))
    assert one.log_file.read_bytes() == two.log_file.read_bytes()
    (a, x), (b, y) = checkpoint(one), checkpoint(two)
    assert same(a, b) and x == y
    assert one.best_file().read_bytes() == two.best_file().read_bytes()


def test_the_last_weights_are_kept_and_a_run_is_resumed_with_the_same_settings(tmp_path):
    policy = decoder()
    run = folder(tmp_path, policy)
    train(policy, run=run)
    kept = decoder(seed=5)
    run.load_best(kept)
    assert same(weights(kept), weights(policy))
    with pytest.raises(ValueError, match="began with other settings; resume with the same"):
        train(decoder(), run=run, resume=True, learning_rate=1e-4)
    train(decoder(), run=run)  # anew
    assert [record["step"] for record in run.records()] == [1, 2, 3]


def test_evaluations_come_when_they_are_due_without_gradients():
    seen = []

    def evaluate(model):
        seen.append((model, torch.is_grad_enabled(), model.training))
        return {"score": len(seen)}

    policy = decoder()
    history = train(policy, evaluate=evaluate, rounds=5, evaluate_every=2)
    assert history.series("score") == ([2, 4, 5], [1, 2, 3]) and seen == [(policy, False, False)] * 3


# What is refused


def test_a_reward_that_is_no_number_stops_the_run_with_the_answer(tmp_path):
    def reward(conversations, answers):
        return torch.tensor([float("nan") if "a" in text else 0.0 for text in answers])

    with pytest.raises(FloatingPointError, match=r"the reward of '\w*a.*' is nan: a reward must be a finite number"):
        train(decoder(), reward)
    with pytest.raises(ValueError, match=r"the rewards of 8 answers have shape \(1, 8\): one for each"):
        train(decoder(), lambda c, a: torch.zeros(1, 8))


def test_weights_that_are_no_numbers_stop_the_run():
    with pytest.raises(FloatingPointError, match="the gradient is nan in round 1: lower the learning rate"):
        train(decoder(), learning_rate=1e38)


def test_a_reference_that_is_the_policy_or_shares_what_learns_is_refused():
    policy = decoder()
    sharing = copy.deepcopy(policy)
    sharing.embedding.weight = policy.embedding.weight
    for reference in (policy, sharing):
        with pytest.raises(ValueError, match="the reference is the policy itself, and would learn with it: give a cop"):
            train(policy, reference=reference)


def test_prompts_that_cannot_be_answered_are_refused_before_anything_is_learned():
    policy = decoder(context=8)
    before = weights(policy)
    with pytest.raises(ValueError, match="a prompt of 11 tokens leaves no room for an answer in a context of 8"):
        train(policy, prompts=[ask("a")] * 50 + [ask("abcdefgh")])
    assert same(before, weights(policy))
    with pytest.raises(ValueError, match="no prompts to answer"):
        train(policy, prompts=[])


def test_models_of_another_vocabulary_are_refused():
    other = TOKENIZER.characters("abc")
    for policy, reference, role in (
        (decoder(tokenizer=other), None, "policy"),
        (decoder(), decoder(tokenizer=other), "reference"),
    ):
        with pytest.raises(ValueError, match=f"the {role} reads 12 different tokens and the tokenizer has 18"):
            train(policy, reference=reference)


@pytest.mark.parametrize(
    "name", ["rounds", "batch_size", "minibatch_size", "epochs", "max_new_tokens", "evaluate_every"]
)
def test_settings_that_mean_nothing_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0: it must be at least 1"):
        config(**{name: 0})
    with pytest.raises(ValueError, match="the temperature is 0: a policy that learns must be drawn from"):
        config(temperature=0)
    with pytest.raises(ValueError, match="the horizon is 7: beta cannot move in less than a round of 8"):
        config(horizon=7, target_kl=1.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"learning_rate": float("inf")}, "learning_rate is inf: it must be finite"),
        ({"kl_coef": 1e38}, "kl_coef is 1e+38: more than 1,000,000 drowns every reward"),
        ({"entropy_coef": float("nan")}, "entropy_coef is nan: it must be 0 or more"),
        ({"seed": 2**63 - 1}, "the seed is 9223372036854775807: it must lie between"),
    ],
)
def test_numbers_that_would_overflow_are_refused_before_the_first_round(settings, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        config(**settings)


def test_a_loss_that_is_no_number_is_told_below_the_bar_and_not_beside_it(capsys):
    with pytest.raises(FloatingPointError, match="the gradient is nan"):
        loop(decoder(), learning_rate=1e38).train(progress=True)
    assert capsys.readouterr().err.endswith("\n")


def test_a_reward_model_is_a_reward_and_reads_empty_answers_too():
    model = RewardModel(decoder(seed=3))
    torch.nn.init.normal_(model.head.weight)
    rewards = RewardModelScorer(model, TOKENIZER, Compute(torch.device("cpu"), torch.float32))
    before = weights(model)
    history = train(decoder(), rewards, batch_size=16)
    assert history.step == 3 and same(before, weights(model))


def test_a_distance_that_stays_negative_is_told_once(monkeypatch):
    """As when answers are drawn from another model than the one that is held to them: here, from the reference."""
    other, draw = decoder(seed=1), module.sample
    monkeypatch.setattr(module, "sample", lambda policy, *more: draw(other, *more))
    sentence = r"negative in 3 rounds, -\d\.\d\d nats in round 3: the answers are not drawn from the policy"
    with pytest.warns(UserWarning, match=sentence) as told:
        history = train(decoder(), reference=other, rounds=6, learning_rate=1e-5, batch_size=16)
    assert len(told) == 1 and all(record["kl"] < -0.1 for record in history.records)


def test_a_small_or_a_passing_negative_distance_is_noise():
    run = loop(decoder())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kl in (-0.5, -0.5, 0.1, -0.05, -0.09, -0.5, -0.5):
            run.history.records.append({"kl": kl})
            run.warn()


def test_the_reference_of_an_adapter_on_an_adapter_has_the_first():
    def stacked():
        policy = peft.inject(decoder(), peft.LoRA(rank=2), "first", torch.Generator().manual_seed(1))
        for _, adapter in adapters(policy):
            torch.nn.init.normal_(adapter.B, std=0.3, generator=torch.Generator().manual_seed(2))
        return policy

    ids, expected = torch.tensor([[1, 2, 3, 4]]), stacked()(torch.tensor([[1, 2, 3, 4]]))
    policy = peft.inject(stacked(), peft.LoRA(rank=2), "second", torch.Generator().manual_seed(3))
    peft.freeze(policy, "second")
    assert reference_of(policy) is None
    records = train(policy).records
    assert records[0]["kl"] == 0 and records[-1]["kl"] != 0
    with as_reference(policy, None) as reference:
        assert torch.equal(reference(ids), expected)
    assert not torch.equal(policy(ids), expected)
    peft.freeze(policy, "second", also=["head"])
    assert peft.adapter_names(reference_of(policy)) == ["first"]
    still = stacked().requires_grad_(False)
    with as_reference(still, None) as reference:  # an adapter that does not learn is a part of what the policy is
        assert torch.equal(reference(ids), expected)


def test_the_value_comes_to_know_what_to_expect():
    def by_prompt(conversations, answers):
        return torch.tensor([float(messages[0]["content"] in "abc") for messages in conversations])

    sizes = {"rounds": 20, "batch_size": 32, "minibatch_size": 16}
    records = train(decoder(), by_prompt, **sizes, learning_rate=1e-2, kl_coef=0.0, value_coef=1.0).records
    assert max(r["explained_variance"] for r in records[-3:]) > 0.5 > records[0]["explained_variance"]


def test_a_run_goes_on_on_the_kind_of_device_that_it_began_on(tmp_path):
    policy = decoder()
    train(policy, run=RunFolder(tmp_path), rounds=1)
    tensors, state = checkpoint(RunFolder(tmp_path))
    assert state["device"] == "cpu"
    save_file(tensors, RunFolder(tmp_path).last_file, {"state": json.dumps(state | {"device": "cuda"})})
    with pytest.raises(ValueError, match="this run began on cuda, and cannot go on on cpu: resume with --device cuda"):
        train(policy, run=RunFolder(tmp_path), rounds=1, resume=True)


def test_a_damaged_checkpoint_is_named_and_the_log_stays(tmp_path):
    run = RunFolder(tmp_path)
    train(decoder(), run=run, rounds=2)
    tensors, state = checkpoint(run)
    log = run.log_file.read_bytes()
    wrong = ({"generator": {"tensor": "model.policy.head.weight"}}, {"generator": 3}, {"beta": "x"}, {"beta": None})
    for changes in (*wrong, {"config": {}}, {"history": {}}):
        save_file(tensors, run.last_file, {"state": json.dumps(state | changes)})
        with pytest.raises(ValueError):
            train(decoder(), run=run, rounds=2, resume=True)
        assert run.log_file.read_bytes() == log


@pytest.mark.parametrize("make", [decoder, with_lora])
def test_the_reference_costs_no_second_model_and_stays_what_the_base_is(make):
    run = loop(make())
    run.round(), run.round()
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.no_grad(), as_reference(run.policy, run.reference) as reference:
        assert torch.equal(reference(ids).log_softmax(-1), decoder()(ids).log_softmax(-1))
    assert (run.reference is None) == (make is with_lora)
    assert not torch.equal(run.policy(ids), decoder()(ids))


@pytest.mark.parametrize("left, right", [(5, 0), (0, 7), (3, 4)])
def test_what_is_said_before_learning_does_not_depend_on_how_much_padding_there_is(left, right):
    run = loop(decoder(), reference=decoder(seed=1))
    rollout = sample_of(run)

    def wide(x, fill):
        return torch.nn.functional.pad(x, (left, right), value=fill)

    ids, mask, labels = wide(rollout.input_ids, TOKENIZER.eos_id), wide(rollout.attention_mask, 0), rollout.labels
    more = Rollout(rollout.conversations, rollout.answers, ids, mask, wide(labels, IGNORE_INDEX), rollout.ended)
    narrow = slice(left, left + rollout.mask.size(1))
    a, b = run.before(rollout), run.before(more)
    for key in a:
        torch.testing.assert_close(b[key][:, narrow], a[key], atol=1e-5, rtol=0)
        assert b[key].count_nonzero() == a[key].count_nonzero()
    scores = torch.linspace(-1, 1, len(rollout.answers))
    for x, y in zip(run.advantages(rollout, scores, a), run.advantages(more, scores, b)):
        torch.testing.assert_close(y[:, narrow], x, atol=1e-4, rtol=0)


def test_a_round_gives_the_same_gradient_in_any_order():
    """The update of all answers, in whatever order they stand: no row knows its place."""
    found = []
    for order in (range(8), reversed(range(8))):
        run = loop(decoder(), reference=decoder(seed=1), minibatch_size=8)
        rollout = sample_of(run)
        scores, old = torch.linspace(-1, 1, 8), run.before(rollout)
        index = torch.tensor(list(order))
        rollout, scores, old = rollout.rows(index), scores[index], {key: t[index] for key, t in old.items()}
        run.optimizer.step = lambda run=run: found.append([p.grad.clone() for p in run.actor.parameters()])
        run.update(rollout, old, *run.advantages(rollout, scores, old))
    for x, y in zip(*found):
        torch.testing.assert_close(x, y, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"minibatch_size": 9}, "minibatch_size 9 is more than the batch_size 8"),
        ({"kl_coef": -0.1}, "kl_coef is -0.1: it must be 0 or more"),
        ({"entropy_coef": float("nan")}, "entropy_coef is nan"),
        ({"clip_range": 0.0}, "clip_range is 0.0: it must be positive"),
        ({"gamma": 1.5}, "gamma is 1.5: it must lie between 0 and 1"),
        ({"lam": float("nan")}, "lam is nan: it must lie between 0 and 1"),
        ({"batch_size": 4000, "target_kl": 1.0}, "the horizon is 2000: beta cannot move in less than a round of 4000"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001: it must be positive"),
        ({"target_kl": 1.0, "kl_coef": 0.0}, "target_kl 1.0 moves kl_coef, which is 0 and would stay there"),
        ({"temperature": float("nan")}, "the temperature is nan"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        config(**changes)


def test_a_horizon_that_nobody_asks_for_limits_nothing():
    assert config(batch_size=4000).batch_size == 4000


def test_what_is_no_decoder_is_refused():
    lstm = LSTMLM(LSTMConfig(TOKENIZER.vocab_size, 1, 16))
    for policy, reference, role in ((lstm, None, "policy"), (decoder(), lstm, "reference")):
        with pytest.raises(ValueError, match=f"the {role} is of kind LSTMLM: what is aligned is a decoder"):
            train(policy, reference=reference)


IDS = torch.tensor([[3, 5, 7, 9], [4, 6, 8, 4]])


class Texts:
    """A batch of texts, again and again."""

    def forever(self):
        return itertools.repeat({"input_ids": IDS, "labels": IDS})


def test_texts_that_were_learned_before_add_their_loss_times_its_price():
    """The gradient of an update is that of PPO and that of language modelling, each by itself (PPO-ptx)."""

    def gradients(texts, ptx_coef):
        policy = decoder()
        run = PPO(policy, TOKENIZER, PROMPTS, various, config(ptx_coef=ptx_coef, max_grad_norm=1e9), None, None, texts)
        rollout = sample_of(run)
        old, found = run.before(rollout), {}
        run.optimizer.step = lambda: found.update({n: p.grad.clone() for n, p in policy.named_parameters()})
        seen = run.update(rollout, old, *run.advantages(rollout, run.scores(rollout), old))
        return found, seen

    alone, seen = gradients(None, 0.5)
    both, said = gradients(Texts(), 0.5)
    policy = decoder()
    total, terms = causal_lm(policy, {"input_ids": IDS, "labels": IDS})
    (total / terms).backward()
    assert "text_loss" not in seen and float(said["text_loss"]) == pytest.approx(float(total / terms), abs=1e-6)
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(both[name], alone[name] + 0.5 * parameter.grad, atol=1e-6, rtol=1e-4)
    assert same(gradients(Texts(), 0.0)[0], alone)  # at no price nothing is read
