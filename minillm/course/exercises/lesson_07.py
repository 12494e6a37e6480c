"""Graders of lesson 07: the roofline, a cache's bytes, a compiler's break-even, a block's operations, recomputing."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from minillm.course.exercises import Wrong, exercise, expect
from minillm.models import Block, KVCache, ModelConfig, rotary_tables


@exercise("attainable_rate")
def grade_attainable_rate(answer: Callable) -> None:
    """Under the slope by hand, under the flat roof, and at the ridge between them."""
    came = answer(100e9, 20e9, 2.0)
    slips = [
        (100e9, "That is the peak: at 2 operations a byte, memory delivers work for 20e9 * 2 operations a second."),
        (10e9, "Multiply the bandwidth by the intensity: bytes a second times operations a byte."),
        (20e9, "That is bytes a second; each byte brings 2 operations."),
        (140e9, "Whichever is slower holds up the other: take the smaller one, do not add."),
    ]
    slip = "Memory delivers work for bandwidth * intensity operations a second, and the processor does peak at most."
    expect(came, 40e9, _slip(came, slips, slip))
    expect(answer(100e9, 20e9, 50.0), 100e9, "No kernel is faster than the peak, however little it reads.")
    expect(answer(3.0, 1.5, 2.0), 3.0, "At the ridge both roofs are equal.")
    expect(answer(7.0, 4.0, 0.125), 0.5, slip)


@exercise("kv_cache_bytes")
def grade_kv_cache_bytes(answer: Callable) -> None:
    """GPT-2's smallest model by hand, grouped heads, and the tensors of the library's cache."""
    came = answer(12, 12, 64, 1024, 1, 2)
    full = 2 * 12 * 12 * 64 * 1024 * 2
    slips = [
        (full // 2, "Keys AND values are kept: twice as much. (Or did you leave out the bytes of a number?)"),
        (full // 24, "Every layer has keys and values of its own, and both are kept."),
        (full // 12, "Every layer has keys and values of its own."),
        (full // 64, "A key has head_dim numbers, in every head."),
        (full * 1024, "A cache grows with the tokens, not with their square: it keeps keys, not scores."),
    ]
    slip = "2 (keys and values) x layers x kv_heads x head_dim x tokens x texts x bytes of a number."
    expect(came, full, _slip(came, slips, slip))
    slip = "Twice as many texts need twice as much; a quarter of the heads, a quarter."
    expect(answer(12, 3, 64, 1024, 2, 2), full // 2, slip)
    for texts, heads, dtype in ((1, 2, torch.float32), (5, 1, torch.bfloat16)):
        cache = KVCache(3, texts, heads, 40, 16, dtype)
        expected = sum(t.numel() * t.element_size() for t in (cache.keys, cache.values))
        came = answer(3, heads, 16, 40, texts, cache.keys.element_size())
        expect(came, expected, f"A KVCache of 3 layers and {texts} texts holds so many bytes. {slip}")


@exercise("break_even_steps")
def grade_break_even_steps(answer: Callable) -> None:
    """The lesson's numbers, a whole quotient, one that is not, and a compiler that gains nothing."""
    came = answer(20.0, 0.10, 0.08)
    slips = [
        (200, "20 s / 0.1 s are the steps that fit into the compiling. Divide by what each step SAVES, 0.02 s."),
        (250, "Divide by what each step saves, 0.1 - 0.08 s, not by what it takes afterwards."),
        (999, "After 999 steps 19.98 s are won back: not yet all."),
        (1001, "After 1,000 steps both runs have taken 100 s: that is not slower any more."),
    ]
    expect(_whole(came), 1000, _slip(came, slips, "Steps = seconds to compile / seconds saved in each step."))
    came = answer(7.0, 0.5, 0.25)
    expect(_whole(came), 28, _slip(came, [(14, "Divide by what a step saves.")], "7 / 0.25 = 28 steps."))
    slip = "7 / 0.75 = 9.33: nine steps do not pay for it yet, so round up."
    expect(_whole(answer(7.0, 1.0, 0.25)), 10, slip)
    for before, after in ((0.1, 0.1), (0.1, 0.2)):
        slip = "A step that is not faster never pays anything back: math.inf."
        try:
            came = answer(20.0, before, after)
        except ZeroDivisionError:
            raise Wrong(f"it divides by zero when a step takes {after} s after as before. {slip}") from None
        expect(came, math.inf, slip)
    expect(_whole(answer(0.0, 0.2, 0.1)), 0, "Compiling that costs nothing pays from the start.")


@exercise("block_flops")
def grade_block_flops(answer: Callable) -> None:
    """Four tokens of two channels by hand, then torch's count of the library's block, grouped heads and all."""
    came = answer(4, 2, 6, 1, 1)
    expected = 2 * 4 * (4 * 2 * 2 + 2 * 2 * 6) + 2 * (2 * 4 * 4 * 2)  # 320 + 128
    slips = [
        (expected / 2, "A multiplication and an addition are two operations."),
        (320, "That is the six weight matrices. Attention also multiplies queries by keys, and weights by values."),
        (384, "Attention has two products of T x T: scores, and weights times values."),
        (352, "The feed-forward layer has two matrices, up and down."),
        (416, "Attention has four matrices: query, key, value and output."),
        (208, "Every one of the T tokens goes through the matrices."),
    ]
    slip = "2 T x (weights of the six matrices), plus twice 2 T T C for the scores and the weighted values."
    expect(_whole(came), expected, _slip(came, slips, slip))
    for T, C, inner, heads, kv_heads in ((5, 12, 24, 3, 3), (16, 24, 96, 4, 2), (33, 32, 64, 4, 1)):
        expected = _counted(T, C, inner, heads, kv_heads)
        came = answer(T, C, inner, heads, kv_heads)
        slips = [
            (_by_formula(T, C, inner, heads, heads), "With fewer heads of keys and values, those two matrices shrink."),
            (_by_formula(T, C, inner, heads, kv_heads, kv_heads), "Keys are shared among queries: no score is saved."),
        ]
        case = f"T={T}, C={C}, inner={inner}, {heads} heads, {kv_heads} of keys: torch counts another number. "
        expect(_whole(came), expected, case + _slip(came, slips, slip))


def _by_formula(T: int, C: int, inner: int, heads: int, kv_heads: int, score_heads: int = 0) -> int:
    narrow = C * kv_heads // heads
    scores = 4 * T * T * (C * score_heads // heads if score_heads else C)
    return 2 * T * (2 * C * C + 2 * C * narrow + 2 * C * inner) + scores


def _counted(T: int, C: int, inner: int, heads: int, kv_heads: int) -> int:
    """The operations of a forward pass through the library's block on one text, as torch counts them."""
    config = ModelConfig(7, context=T, width=C, heads=heads, kv_heads=kv_heads, hidden=inner)
    block, rotary = Block(config, 0, causal=True), rotary_tables(T, config.head_dim)
    everyone = torch.ones(1, 1, T, T, dtype=torch.bool)  # a mask, so that plain products are made on a CPU
    with FlopCounterMode(display=False) as counter:  # with gradients: else grouped heads share one kernel, half counted
        block(torch.zeros(1, T, C), rotary, everyone, None)
    return counter.get_total_flops()


@exercise("compute_again")
def grade_compute_again(answer: Callable) -> None:
    """The same output, the same gradients of the input and of the weights, and nothing kept but the input."""
    torch.manual_seed(6)
    layer = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 8))
    x = torch.randn(5, 8, requires_grad=True)
    expected = layer(x)
    expected_grads = torch.autograd.grad(expected.square().sum(), [x, *layer.parameters()])
    saved: dict[int, int] = {}
    known = {t.data_ptr() for t in (x, *layer.parameters())}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in known:
            saved[tensor.data_ptr()] = tensor.numel()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        came = answer(layer, x)
    if not isinstance(came, Tensor):
        raise Wrong(f"it gave {type(came).__name__} where a tensor was expected. Return function(x).")
    expect(came.detach(), expected.detach(), "The output must be that of function(x).")
    if not came.requires_grad:
        raise Wrong(
            "the output has no gradient: under no_grad autograd forgets that x went in. A class with forward and "
            "backward, derived from torch.autograd.Function, tells it."
        )
    if sum(saved.values()) > x.numel():
        raise Wrong(
            f"the numbers are right, but {sum(saved.values())} numbers were saved for backward, as without you. "
            "Run the function under no_grad, and keep x alone."
        )
    layer.zero_grad()
    x.grad = None
    came.square().sum().backward()
    _expect_gradients(x, layer, expected_grads)


def _expect_gradients(x: Tensor, layer: nn.Module, expected_grads: Sequence[Tensor]) -> None:
    """The gradients that a backward pass has left are the expected ones: of x, then of every weight."""
    if x.grad is None:
        raise Wrong("the gradient of x is missing: backward must return it.")
    slip = "Run the function again with gradients on, then go back through it from the gradient of the output."
    expect(x.grad, expected_grads[0], slip)
    for parameter, gradient in zip(layer.parameters(), expected_grads[1:]):
        if parameter.grad is None:
            raise Wrong(
                "x has its gradient, the weights of the function have none: torch.autograd.grad gives what you ask "
                "for and no more; torch.autograd.backward reaches every weight."
            )
        expect(parameter.grad, gradient, "x has the right gradient, a weight has not: was it added twice?")


def _whole(came):
    """A whole number as an int, so that 1000.0 is as good as 1000; anything else as it came."""
    return int(came) if isinstance(came, float) and came.is_integer() else came


def _slip(came, slips: list[tuple], otherwise: str) -> str:
    """The message of the slip that gives what came."""
    if isinstance(came, int | float):
        for value, message in slips:
            if math.isclose(came, value, rel_tol=1e-6):
                return message
    return otherwise
