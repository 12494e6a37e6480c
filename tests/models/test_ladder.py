"""Each rung between GPT-2 and Llama differs from the one below in one part, and counts its weights."""

import pytest

from minillm.models import LADDER, RECIPES, RUNGS, Decoder, ModelConfig

CHANGES = [
    {"norm"}, {"rotary"}, {"feed_forward", "activation", "expansion"}, {"bias"}, {"tied"},
]  # fmt: skip


def test_each_rung_changes_one_part():
    for below, above, change in zip(RUNGS[:-1], RUNGS[1:], CHANGES, strict=True):
        one, other = RECIPES[below]._asdict(), RECIPES[above]._asdict()
        assert {name for name in one if one[name] != other[name]} == change, (below, above)
    assert set(LADDER) < set(RUNGS)


@pytest.mark.parametrize("kv_heads", [4, 1])
def test_the_rungs_have_the_weights_that_their_parts_have(kv_heads):
    L, C, V, S = 2, 48, 30, 16
    size = {"vocab_size": V, "context": S, "layers": L, "width": C, "heads": 4, "kv_heads": kv_heads}
    K = C * kv_heads // 4  # channels of keys, and of values
    count = {r: sum(p.numel() for p in Decoder(ModelConfig(recipe=r, **size)).parameters()) for r in RUNGS}
    matrices = V * C + L * (2 * C * C + 2 * C * K + 8 * C * C)
    assert count["gpt2"] == matrices + S * C + L * (2 * C + 2 * K + 5 * C) + (2 * L + 1) * 2 * C
    assert count["gpt2-rmsnorm"] == count["gpt2"] - (2 * L + 1) * C
    assert count["gpt2-rotary"] == count["gpt2-rmsnorm"] - S * C
    assert count["gpt2-gated"] == count["gpt2-rotary"] + L * (2 * (8 * C // 3) + C - 5 * C)  # matrices weigh the same
    assert count["llama-tied"] == matrices + (2 * L + 1) * C
    assert count["llama"] == count["llama-tied"] + V * C
