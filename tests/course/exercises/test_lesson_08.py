"""The slips that people make in lesson 08 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch
import torch.nn.functional as F

from minillm.course.exercises import grade


def right_norm(x, weight, eps):
    return F.rms_norm(x, (x.size(-1),), weight, eps)


def right_bytes(layers, kv_heads, head_dim, tokens, each):
    return layers * tokens * kv_heads * head_dim * (each + each)


def right_swiglu(x, gate, up, down):
    return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


def grouped(q, k, v, spread=torch.repeat_interleave, scale=None, causal=True):
    k, v = (spread(one, len(q) // len(one), dim=0) for one in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)


RIGHT = {"rms_norm": right_norm, "cache_bytes": right_bytes, "swiglu": right_swiglu, "grouped_attention": grouped}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_is_right(name):
    assert grade(name, RIGHT[name]).status == "right", grade(name, RIGHT[name])


def stub(*arguments):
    """An answer that nobody has written yet."""
    ...


@pytest.mark.parametrize("name", RIGHT)
def test_an_untouched_exercise_is_not_answered_yet(name):
    assert grade(name, stub).status == "not answered yet"


def tiled(one, times, dim):
    return one.repeat(times, 1, 1)


def masked_late(q, k, v):
    k, v = (one.repeat_interleave(len(q) // len(one), 0) for one in (k, v))
    A = (q @ k.mT / q.size(-1) ** 0.5).softmax(-1)
    return A.tril() @ v


def root(x, axis=-1):
    return x.square().mean(axis, keepdim=True).sqrt()


WRONG = [
    ("rms_norm", lambda x, w, e: w * x / x.norm(dim=-1, keepdim=True), "norm of 1"),
    ("rms_norm", lambda x, w, e: F.layer_norm(x, (x.size(-1),), w, eps=e), "mean is not subtracted"),
    ("rms_norm", lambda x, w, e: w * x / (root(x) ** 2 + e), "root is missing"),
    ("rms_norm", lambda x, w, e: w * x / (root(x) + e), "inside of the root"),
    ("rms_norm", lambda x, w, e: x / (root(x) ** 2 + e).sqrt(), "weight is missing"),
    ("rms_norm", lambda x, w, e: w * x / (x.square().mean() + e).sqrt(), "last axis"),
    ("cache_bytes", lambda n, h, d, t, b: n * h * d * t * b, "Keys and values"),
    ("cache_bytes", lambda n, h, d, t, b: h * d * t * b, "its own"),
    ("cache_bytes", lambda n, h, d, t, b: 2 * n * h * d * b, "Each token"),
    ("cache_bytes", lambda n, h, d, t, b: 16 * n * h * d * t * b, "bits"),
    ("cache_bytes", lambda n, h, d, t, b: 2560, "SmolLM2"),
    ("swiglu", lambda x, g, u, d: (torch.sigmoid(x @ g.T) * (x @ u.T)) @ d.T, "GLU"),
    ("swiglu", lambda x, g, u, d: ((x @ g.T) * (x @ u.T)) @ d.T, "activation is missing"),
    ("swiglu", lambda x, g, u, d: right_swiglu(x, u, g, d), "exchanged"),
    ("swiglu", lambda x, g, u, d: F.silu((x @ g.T) * (x @ u.T)) @ d.T, "gate alone, before"),
    ("swiglu", lambda x, g, u, d: F.silu(x @ u.T) @ d.T, "gate is missing"),
    ("grouped_attention", lambda q, k, v: grouped(q, k, v, tiled), "other order"),
    ("grouped_attention", lambda q, k, v: grouped(q, k, v, causal=False), "mask is missing"),
    ("grouped_attention", lambda q, k, v: grouped(q, k, v, scale=1.0), "root of D"),
    ("grouped_attention", lambda q, k, v: grouped(q, k, v, scale=1 / q.size(-1)), "not by D"),
    ("grouped_attention", masked_late, "before the softmax"),
    ("grouped_attention", lambda q, k, v: 1, "tensor was expected"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
