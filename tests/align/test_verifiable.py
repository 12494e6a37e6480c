"""Exact rewards, what GRPO's settings do with them, samples that are kept; and a policy that learns from them."""

import pytest
import torch
from toys import FP32, PROMPTS, TOKENIZER, ask, decoder, same, share, various, weights

from minillm.align import GRPO, ExactReward, GRPOConfig, rejection_sample, rloo, sample_each, train_grpo
from minillm.align.rollout import sample
from minillm.tales import make_puzzles, verify
from minillm.training import leave_one_out

SETTINGS = {"rounds": 2, "batch_size": 8, "minibatch_size": 4, "group_size": 4, "max_new_tokens": 6, **FP32}


def config(**changes):
    return GRPOConfig(**(SETTINGS | {"learning_rate": 5e-3} | changes))


def loop(policy, settings, reward=various):
    return GRPO(policy, TOKENIZER, PROMPTS, reward, settings)


def learned(**changes):
    policy = decoder()
    history = train_grpo(policy, TOKENIZER, PROMPTS, share("a"), config(**changes), progress=False)
    return weights(policy), history


def test_an_exact_reward_is_what_the_verifier_says():
    puzzles = make_puzzles(40, 0, [1, 2, 4])
    answers = [p.worked if i % 3 == 0 else p.direct if i % 3 == 1 else "so nobody" for i, p in enumerate(puzzles)]
    chats = [ask(p.prompt) for p in puzzles]
    plain, process = ExactReward()(chats, answers), ExactReward(process=0.5)(chats, answers)
    for i, (puzzle, answer) in enumerate(zip(puzzles, answers)):
        said = verify(puzzle.prompt, answer)
        assert plain[i] == float(said.right) == float(i % 3 < 2)
        assert process[i] == pytest.approx(said.right + 0.5 * said.steps_right / len(puzzle.states))
    with pytest.raises(ValueError, match="no puzzle"):
        ExactReward()([ask("hello")], ["so Tom"])


def test_the_usual_settings_change_nothing_and_each_of_the_others_something():
    usual, _ = learned()
    again, _ = learned(clip_high=0.2, weigh="token", length_cost=0.0, drop_alike=False)
    assert same(usual, again)
    for changes in ({"weigh": "answer"}, {"length_cost": 0.1}, {"others": True}):
        assert not same(usual, learned(**changes)[0]), changes


def test_a_price_for_length_is_taken_before_answers_are_compared():
    run = loop(decoder(), config(length_cost=0.25, scale=False))
    rollout = sample(run.policy, TOKENIZER, run.asked(), 6, generator=run.generator)
    scores, old = run.scores(rollout), run.before(rollout)
    found, _ = run.advantages(rollout, scores, old)
    worth = (scores - run.beta * old["k1"].sum(1) - 0.25 * rollout.mask.sum(1)).view(2, 4)
    expected = (worth - worth.mean(1, keepdim=True)).view(-1, 1) * rollout.mask
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_rloo_compares_with_the_others_and_takes_one_step():
    settings = rloo(config(kl_coef=0.0))
    run = loop(decoder(), settings)
    rollout = sample(run.policy, TOKENIZER, run.asked(), 6, generator=run.generator)
    scores = run.scores(rollout)
    found, _ = run.advantages(rollout, scores, run.before(rollout))
    torch.testing.assert_close(found, leave_one_out(scores.view(2, 4)).view(-1, 1) * rollout.mask)
    assert (settings.epochs, settings.minibatch_size) == (1, 8) and run.round()["ratio"] == pytest.approx(1)


def test_groups_that_agree_are_dropped_and_a_round_in_which_all_agree_teaches_nothing():
    good = [PROMPTS[0], PROMPTS[3]]

    def reward(conversations, answers):  # of half of the prompts all answers are as good
        scores = various(conversations, answers)
        return torch.tensor([s if c in good else 1.0 for c, s in zip(conversations, scores.tolist())])

    run = loop(decoder(), config(drop_alike=True, batch_size=32, minibatch_size=8, kl_coef=0.0), reward)
    record = run.round()
    mixed = [i for i, alike in enumerate(run.alike.tolist()) if not alike]
    kept = sorted(torch.cat(run.minibatches(32)).tolist())
    assert kept == sorted(4 * g + i for g in mixed for i in range(4)) and 0 < len(mixed) < 8
    assert record["alike"] == 1 - len(mixed) / 8
    before = weights(run.policy)
    run = loop(run.policy, config(drop_alike=True), lambda c, answers: torch.ones(len(answers)))
    assert run.round()["alike"] == 1 and same(before, weights(run.policy))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="weigh is 'words': choose one of token, answer, constant"):
        config(weigh="words")
    with pytest.raises(ValueError, match="length_cost is -1"):
        config(length_cost=-1)


def test_samples_stand_beside_their_prompts_and_the_good_ones_are_kept_once():
    policy = decoder()
    rows = sample_each(policy, TOKENIZER, PROMPTS, 3, 6, generator=torch.Generator().manual_seed(0))
    whole = sample(policy, TOKENIZER, [c for c in PROMPTS for _ in range(3)], 6, 1.0, torch.Generator().manual_seed(0))
    assert [answer for row in rows for answer in row] == whole.answers
    more = {"max_new_tokens": 6, "generator": torch.Generator().manual_seed(1)}
    kept = rejection_sample(policy, TOKENIZER, PROMPTS, share("a"), 40, least=0.3, **more)
    said = [(c[0]["content"], c[1]["content"]) for c in kept]
    assert len(set(said)) == len(said) > 3 and all(answer.count("a") >= 0.3 * len(answer) for _, answer in said)
    with pytest.raises(ValueError, match="n is 0"):
        sample_each(policy, TOKENIZER, PROMPTS, 0)
