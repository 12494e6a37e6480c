"""The slips that people make in lesson 07 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import re

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from minillm.course.exercises import grade


def right_rate(peak, bandwidth, intensity):
    return min(peak, bandwidth * intensity)


def right_cache(layers, kv_heads, head_dim, tokens, texts, number):
    return 2 * layers * kv_heads * head_dim * tokens * texts * number


def right_steps(seconds, before, after):
    return math.ceil(round(seconds / (before - after), 9)) if after < before else math.inf


def right_flops(T, C, inner, heads, kv_heads):
    return 2 * T * (2 * C * C + 2 * C * C * kv_heads // heads + 2 * C * inner) + 4 * T * T * C


class Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, x):
        ctx.function = function
        ctx.save_for_backward(x)
        with torch.no_grad():
            return function(x)

    @staticmethod
    def backward(ctx, gradient):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            output = ctx.function(x)
        torch.autograd.backward(output, gradient)
        return None, x.grad


def make_again(backward):
    """`Again` with another way back, which gets (function, x, gradient of the output) and returns the gradient of x."""

    class Other(Again):
        @staticmethod
        def backward(ctx, gradient):
            return None, backward(ctx.function, ctx.saved_tensors[0].detach().requires_grad_(), gradient)

    def answer(function, x):
        x = x if x.requires_grad else x.requires_grad_()
        return Other.apply(function, x)

    return answer


def only_x(function, x, gradient):
    with torch.enable_grad():
        return torch.autograd.grad(function(x), x, gradient)[0]


def twice(function, x, gradient):
    with torch.enable_grad():
        torch.autograd.backward(function(x), gradient)
        x.grad = None
        torch.autograd.backward(function(x), gradient)
    return x.grad


def from_ones(function, x, gradient):
    with torch.enable_grad():
        function(x).sum().backward()
    return x.grad


def without_gradient(function, x):
    with torch.no_grad():
        return function(x)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("attainable_rate", right_rate),
        ("kv_cache_bytes", right_cache),
        ("break_even_steps", right_steps),
        ("block_flops", right_flops),
        ("compute_again", Again.apply),
        ("compute_again", lambda function, x: checkpoint(function, x, use_reentrant=False)),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


WRONG = [
    # the roofline
    ("attainable_rate", lambda p, b, i: p, "That is the peak"),
    ("attainable_rate", lambda p, b, i: min(p, b / i), "Multiply the bandwidth"),
    ("attainable_rate", lambda p, b, i: b * i, "No kernel is faster"),
    ("attainable_rate", lambda p, b, i: b, "each byte brings"),
    ("attainable_rate", lambda p, b, i: p + b * i, "do not add"),
    # the cache
    ("kv_cache_bytes", lambda layers, h, d, t, b, n: layers * h * d * t * b * n, "Keys AND values"),
    ("kv_cache_bytes", lambda layers, h, d, t, b, n: 2 * h * d * t * b * n, "Every layer"),
    ("kv_cache_bytes", lambda layers, h, d, t, b, n: 2 * layers * h * t * b * n, "head_dim numbers"),
    ("kv_cache_bytes", lambda layers, h, d, t, b, n: 2 * layers * h * d * t * n, "Twice as many texts"),
    ("kv_cache_bytes", lambda layers, h, d, t, b, n: 2 * layers * h * d * t * b * 2, "A KVCache of 3 layers"),
    ("kv_cache_bytes", lambda layers, h, d, t, b, n: 2 * layers * h * d * t * t * b * n, "not with their square"),
    # the compiler
    ("break_even_steps", lambda s, b, a: s / b, "each step SAVES"),
    ("break_even_steps", lambda s, b, a: s / a, "not by what it takes afterwards"),
    ("break_even_steps", lambda s, b, a: int(s / (b - a) + 1e-6) + 1, "not slower any more"),
    ("break_even_steps", lambda s, b, a: int(s / (b - a) + 1e-6) if b > a else math.inf, "round up"),
    ("break_even_steps", lambda s, b, a: math.ceil(round(s / (b - a), 6)), "never pays|divides by zero"),
    ("break_even_steps", lambda s, b, a: right_steps(s, b, a) if a != b else 0, "never pays"),
    # the block
    ("block_flops", lambda *a: right_flops(*a) // 2, "two operations"),
    ("block_flops", lambda T, C, i, h, k: right_flops(T, C, i, h, k) - 4 * T * T * C, "six weight matrices"),
    ("block_flops", lambda T, C, i, h, k: right_flops(T, C, i, h, k) - 2 * T * T * C, "two products of T x T"),
    ("block_flops", lambda T, C, i, h, k: right_flops(T, C, i, h, h), "those two matrices shrink"),
    (
        "block_flops",
        lambda T, C, i, h, k: right_flops(T, C, i, h, k) - 4 * T * T * (C - C * k // h),
        "no score is saved",
    ),
    ("block_flops", lambda T, C, i, h, k: right_flops(T, C, i, h, k) - 2 * T * C * i, "up and down"),
    ("block_flops", lambda T, C, i, h, k: right_flops(T, C, i, h, k) - 2 * T * C * C, "four matrices"),
    ("block_flops", lambda T, C, i, h, k: right_flops(T, C, i, h, k) - 2 * (T - 1) * (4 * C + 2 * i) * C, "T tokens"),
    # computing again
    ("compute_again", lambda function, x: function(x), "saved for backward"),
    ("compute_again", without_gradient, "under no_grad autograd forgets"),
    ("compute_again", lambda function, x: without_gradient(function, x).requires_grad_(), "gradient of x is missing"),
    ("compute_again", make_again(only_x), "the weights of the function have none"),
    ("compute_again", make_again(twice), "added twice"),
    ("compute_again", make_again(from_ones), "from the gradient of the output"),
    ("compute_again", lambda function, x: (function(x),), "a tensor was expected"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
