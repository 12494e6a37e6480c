"""Attention against torch's own kernel, a loop, and the geometry of rotations."""

import math

import pytest
import torch
import torch.nn.functional as F

from minillm.models import KVCache, SelfAttention, attend, attention, causal_mask, rotary_tables, rotate


def random_qkv(T=5, S=7, H=4, groups=4, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, H, T, 8), (2, groups, S, 8), (2, groups, S, 8)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def test_the_plain_formula_equals_a_loop_over_queries_and_keys():
    q, k, v = (x[0, 0] for x in random_qkv())
    output, weights = attention(q, k, v)
    for t in range(len(q)):
        scores = [float(q[t] @ k[s]) / math.sqrt(8) for s in range(len(k))]
        exponentials = [math.exp(score) for score in scores]
        expected = [e / sum(exponentials) for e in exponentials]
        torch.testing.assert_close(weights[t], torch.tensor(expected))
        torch.testing.assert_close(output[t], sum(w * v[s] for s, w in enumerate(expected)))


def test_the_worked_example_of_the_docstring():
    q, k = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    output, weights = attention(q, k, torch.tensor([[10.0], [20.0]]))
    assert output.item() == 15 and weights.tolist() == [[0.5, 0.5]]
    assert causal_mask(2, 3).int().tolist() == [[1, 1, 0], [1, 1, 1]]


def test_a_query_that_sees_nothing_gets_zeros_and_not_nan():
    q, k, v = random_qkv()
    output, weights = attention(q, k, v, torch.zeros(5, 7, dtype=torch.bool))
    assert output.abs().sum() == 0 and weights.abs().sum() == 0


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize(("T", "S"), [(7, 7), (3, 7), (1, 7)])
def test_the_fast_path_equals_the_plain_formula_and_torchs_kernel(T, S, groups):
    q, k, v = random_qkv(T, S, groups=groups)
    wide_k, wide_v = (x.repeat_interleave(4 // groups, dim=1) for x in (k, v))
    causal = causal_mask(T, S)
    padding = (torch.rand(2, 1, 1, S, generator=torch.Generator().manual_seed(1)) < 0.7) & causal
    padding = padding | torch.eye(S, dtype=torch.bool)[S - T :]
    for mask, flag, seen in [(None, True, causal), (None, False, None), (padding, True, padding)]:
        expected, _ = attention(q, wide_k, wide_v, seen)
        torch.testing.assert_close(attend(q, k, v, mask, flag), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            F.scaled_dot_product_attention(q, wide_k, wide_v, seen), expected, atol=1e-5, rtol=1e-5
        )


def test_gradients_of_the_fast_path_equal_those_of_the_plain_formula():
    plain = [x.requires_grad_() for x in random_qkv(6, 6)]
    fast = [x.detach().clone().requires_grad_() for x in plain]
    attention(*plain, causal_mask(6, 6))[0].square().sum().backward()
    attend(*fast, None, True).square().sum().backward()
    for a, b in zip(plain, fast):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-5)


def test_bf16_agrees_with_fp32_within_its_own_precision():
    q, k, v = random_qkv(16, 16)
    exact = attend(q, k, v, None, True)
    rough = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), None, True)
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)


def test_rotation_keeps_lengths_and_makes_scores_depend_on_distance_only():
    cos, sin = rotary_tables(64, 8)
    x, y = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    at = lambda vector, position: rotate(vector[None, None, None], cos[position][None], sin[position][None]).flatten()  # noqa: E731
    torch.testing.assert_close(at(x, 17).norm(), x.norm())
    torch.testing.assert_close(at(x, 5) @ at(y, 3), at(x, 45) @ at(y, 43), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(at(x, 0), x)


def test_rotation_is_a_complex_multiplication():
    cos, sin = rotary_tables(16, 8)
    x = torch.randn(1, 1, 16, 8, generator=torch.Generator().manual_seed(0))
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones(16, 4), torch.atan2(sin, cos))
    torch.testing.assert_close(rotate(x, cos, sin), torch.cat([turned.real, turned.imag], dim=-1))


def test_a_cache_that_is_too_small_says_so():
    cache = KVCache(1, 1, 1, capacity=3, head_dim=2)
    with pytest.raises(ValueError, match="holds 3 positions and was asked for 4"):
        cache.update(0, torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width 10 must divide by heads 4"):
        SelfAttention(10, 4, 4, causal=True)
