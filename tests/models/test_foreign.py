"""Parts of other people's families, against slow loops and closed forms; the details of a config."""

import json
import math

import pytest
import torch

from minillm.inference import attention_maps
from minillm.models import (
    FOREIGN,
    OWN_RECIPES,
    RECIPES,
    Decoder,
    Details,
    Encoder,
    ModelConfig,
    OnePlusRMSNorm,
    rotary_tables,
    stated,
)

SIZE = {"vocab_size": 40, "context": 32, "layers": 3, "width": 32, "heads": 4}
WINDOWED = Details(pattern="lg", window=4)


def model_of(recipe, kind=Decoder, **changes):
    torch.manual_seed(0)
    model = kind(ModelConfig(recipe=recipe, **{**SIZE, **changes}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def tokens(B=2, T=16, seed=1):
    return torch.randint(0, 40, (B, T), generator=torch.Generator().manual_seed(seed))


def test_other_people_s_rows_stand_behind_ours():
    assert tuple(RECIPES) == (*OWN_RECIPES, *FOREIGN) and not set(OWN_RECIPES) & set(FOREIGN)


@torch.no_grad()
def test_one_plus_rmsnorm_is_its_formula():
    norm = OnePlusRMSNorm(8, eps=0.01)
    x = torch.randn(3, 8)
    plain = x / (x.square().mean(-1, keepdim=True) + 0.01).sqrt()
    torch.testing.assert_close(norm(x), plain)  # as it is built, it multiplies by one
    norm.weight.copy_(torch.randn(8))
    torch.testing.assert_close(norm(x), plain * (1 + norm.weight))


def test_scaled_rotary_positions_are_the_formula_of_llama_3():
    details = Details(rope_factor=8.0, rope_low=1.0, rope_high=4.0, rope_original=64)
    cos, sin = details.rotary_tables(200, 16, 1000.0)
    for pair in range(8):
        frequency = 1000.0 ** (-2 * pair / 16)
        length = 2 * math.pi / frequency  # of a turn, in positions
        if length > 64 / 1.0:
            frequency /= 8
        elif length > 64 / 4.0:
            smooth = (64 / length - 1.0) / (4.0 - 1.0)
            frequency = (1 - smooth) * frequency / 8 + smooth * frequency
        angles = torch.arange(200) * frequency
        torch.testing.assert_close(cos[:, pair], angles.cos(), atol=1e-4, rtol=0)
        torch.testing.assert_close(sin[:, pair], angles.sin(), atol=1e-4, rtol=0)
    plain, linear = rotary_tables(200, 16, 1000.0), Details(rope_factor=4.0).rotary_tables(200, 16, 1000.0)
    for came, expected in zip(linear, plain):
        torch.testing.assert_close(came[4::4][:40], expected[1:41], atol=1e-4, rtol=0)


@pytest.mark.parametrize("recipe", ["mistral", "gemma2"])
@pytest.mark.parametrize("kind", [Decoder, Encoder])
@torch.no_grad()
def test_a_window_hides_what_is_further_away_and_a_map_shows_it(recipe, kind):
    cap = {"score_cap": 5.0} if recipe == "gemma2" else {}
    model = model_of(recipe, kind, details=Details(pattern="lg", window=4, **cap))
    maps = attention_maps(model, tokens())
    T = torch.arange(16)
    distance = T[:, None] - T
    near = (distance.abs() < 4) & ((distance >= 0) | (kind is Encoder))
    assert ((maps > 0) == near)[0].all() and ((maps > 0) == near)[2].all()
    assert ((maps[1] > 0).all(0) == ((distance >= 0) | (kind is Encoder))).all()
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))


@torch.no_grad()
def test_a_token_beyond_all_windows_changes_nothing():
    model = model_of("mistral", details=Details(pattern="l", window=4))  # 3 layers see 3 * 3 positions back
    ids = tokens()
    other = ids.clone()
    other[:, 0] = (ids[:, 0] + 1) % 40
    changed = (model(ids) - model(other)).abs().amax((0, 2)) > 0
    assert changed[:10].any() and not changed[10:].any()


@pytest.mark.parametrize("recipe", ["mistral", "gemma2", "gemma3"])
@torch.no_grad()
def test_neither_padding_nor_other_texts_count_in_a_window(recipe):
    model = model_of(recipe, details=WINDOWED)
    one, other = tokens(B=1, T=9), tokens(B=1, T=7, seed=2)
    alone = torch.cat((model(one), model(other)), 1)
    gap = torch.zeros_like(one[:, :3])
    row = torch.cat((one[:, :4], gap, one[:, 4:], other[:, :2], gap, other[:, 2:]), 1)
    mask = torch.tensor([[1] * 4 + [0] * 3 + [1] * 5 + [2] * 2 + [0] * 3 + [2] * 5])
    torch.testing.assert_close(model(row, mask)[mask != 0], alone[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("recipe", ["mistral", "gemma2", "gemma3"])
@torch.no_grad()
def test_a_window_as_long_as_the_text_is_none(recipe):
    window, none = (model_of(recipe, details=d) for d in (Details(pattern="l", window=16), Details()))
    torch.testing.assert_close(window(tokens()), none(tokens()), atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_a_layer_without_rotary_positions_sees_no_order():
    model = model_of("smollm3", layers=1, details=Details(pattern="n"))
    ids = tokens(T=8)
    mixed = torch.cat((ids[:, [3, 1, 0, 2]], ids[:, 4:]), 1)
    torch.testing.assert_close(model(ids)[:, 4:], model(mixed)[:, 4:])
    turned = model_of("smollm3", layers=1)
    assert not torch.allclose(turned(ids)[:, 4:], turned(mixed)[:, 4:], atol=1e-3)


@torch.no_grad()
def test_soft_caps_bound_what_they_cap():
    logits = model_of("gemma2", details=Details(logit_cap=2.0))(tokens())
    free = model_of("gemma2")(tokens())
    assert free.abs().max() > 2 > logits.abs().max()
    torch.testing.assert_close(logits, 2 * (free / 2).tanh())


def test_what_config_json_holds_is_as_before_without_details_and_reads_back_with_them():
    plain = ModelConfig(**SIZE)
    assert "details" not in stated(plain) and ModelConfig(**stated(plain)) == plain
    config = ModelConfig(**SIZE, recipe="mistral", details=WINDOWED)
    said = json.loads(json.dumps(stated(config)))
    assert said["details"] == {"pattern": "lg", "window": 4} and ModelConfig(**said) == config


@pytest.mark.parametrize(
    ("recipe", "details", "words"),
    [
        ("mistral", {"pattern": "lx", "window": 3}, "pattern is 'lx': it must be made of the letters g, l, n"),
        ("mistral", {"pattern": ""}, "pattern is ''"),
        ("mistral", {"pattern": "l"}, "window is 0: a model with layers that see a window needs one"),
        ("gemma2", {"score_cap": -1.0}, "score_cap is -1.0"),
        ("gpt_neox", {"rotary_share": 0.0}, "rotary_share must lie in"),
        ("llama", {"pattern": "l", "window": 3}, "recipe llama has no pattern, window"),
        ("qwen3", {"head_dim": 7}, "width 32 must be an even multiple"),
    ],
)
def test_details_that_cannot_be_are_refused(recipe, details, words):
    with pytest.raises(ValueError, match=words):
        Decoder(ModelConfig(**SIZE, recipe=recipe, details=Details(**details)))
