"""Several processes that train as one, against one; the start of two costs some seconds and serves all tests."""

import pytest
import torch
from several import ABC, ACCUMULATE, STEPS, learn, losses, several

from minillm.data import Mixed, Padded, Windows, tokenize
from minillm.system import ALONE, place_of_process


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found."""
    return several(2, tmp_path_factory.mktemp("two"))


def apart(one: list[float], other: list[float]) -> float:
    assert len(one) == len(other)
    return max(abs(a - b) for a, b in zip(one, other))


@pytest.mark.xdist_group("two")
def test_what_processes_tell_each_other(two):
    for rank, found in enumerate(two):
        assert found["share"] == {"from": 0} and found["gather"] == [[0], [1, 1]] and found["sum"] == [3.0]
        assert found["each"] == [0, 1, 4, 9, 16] and found["none"] == []
        assert found["unused"] == [True, [3.0, 3.0], [1.0, 1.0], None], rank  # what nobody uses has no gradient


@pytest.mark.xdist_group("two")
def test_two_processes_have_the_losses_of_one_and_move_each_gradient_once(two):
    model, history = learn()
    assert two[0]["muon"] == two[1]["muon"] and apart(two[0]["muon"], losses(history)) < 2e-6
    assert two[0]["sent"] == STEPS * 4 * sum(p.numel() for p in model.parameters())


@pytest.mark.xdist_group("two")
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_model_in_parts_takes_half_the_memory_and_has_the_same_losses(two, optimizer):
    expected = losses(learn(optimizer=optimizer)[1])
    parts, whole = ([found["held"][optimizer][name] for found in two] for name in ("parts", "whole"))
    for name in ("weights", "optimizer"):
        held = [one["bytes"][name] for one in parts]
        assert max(held) < 0.51 * whole[0]["bytes"][name]  # rows that do not divide are padded
    for one in (*parts, *whole):
        assert apart(one["losses"], expected) < 2e-6 and one["plain"]


@pytest.mark.xdist_group("two")
def test_an_interrupt_and_a_loss_that_is_no_number_stop_all_after_the_same_step(two):
    assert [found["interrupted"] for found in two] == [4, 4]  # asked for in the third, known in the fourth
    assert two[0]["nan"] == two[1]["nan"] and "the loss is nan at step 3" in two[0]["nan"]


@pytest.mark.xdist_group("two")
def test_a_run_with_dropout_goes_on_to_the_same_bits(two):
    assert two[0]["resumed"] and two[1]["resumed"]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_mixture_as_one_reads_it(world):
    tokens = tokenize(["abcab", "ba", "cabbacabbacabba", "bcbc"] * 20, ABC)
    texts = [{"input_ids": [1] * (2 + i % 5), "labels": [1] * (2 + i % 5)} for i in range(30)]

    def stream(rank: int, world: int, count: int) -> list:
        mixed = Mixed([Windows(tokens, 8, 2, seed=1), Padded(texts, 0, 2, seed=2)], [2, 1], seed=3)
        mixed.rank, mixed.world = rank, world
        batches = mixed.forever()
        return [next(batches) for _ in range(count)], mixed.state_dict()

    whole, state = stream(0, 1, 6 * world)
    for rank in range(world):
        own, after = stream(rank, world, 6)
        assert after == state
        for mine, theirs in zip(own, whole[rank::world]):
            assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_one_process_asks_nobody():
    assert place_of_process() == (0, 1) and ALONE.leads
    assert ALONE.share(lambda: 3) == 3 and ALONE.each(str, [1, 2]) == ["1", "2"] and ALONE.gather(5) == [5]
    assert ACCUMULATE % 3 == 0
