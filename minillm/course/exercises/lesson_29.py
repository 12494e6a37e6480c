"""Graders of lesson 29: ChatML as text, bits per byte, and the blocks of a GGUF file."""

import math
import struct
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.models import quantize_blocks
from minillm.text import render

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


@exercise("chatml_text")
def grade_chatml_text(answer: Callable) -> None:
    """One message, two with an opened turn, and the library's own rendering of a longer one."""
    came = answer([{"role": "user", "content": "Hi"}], False)
    if not isinstance(came, str):
        raise Wrong(f"it gave {came!r} where a text was expected.")
    slips = [
        ("<|im_start|>user\nHi<|im_end|>", "A line break follows each <|im_end|>."),
        ("<|im_start|>userHi<|im_end|>\n", "A line break stands between role and content."),
        ("<|im_start|>user Hi<|im_end|>\n", "A line break stands between role and content, no space."),
        ("<|im_start|>user\nHi\n<|im_end|>\n", "The end follows the content at once."),
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Open a turn only if reply is True."),
    ]
    expect(came, "<|im_start|>user\nHi<|im_end|>\n", likely_slip(came, slips, "See the example in the docstring."))
    came, closed = answer(list(HELLO), True), render(HELLO, "chatml", "", "")
    slips = [
        (closed, "With reply=True the assistant's turn is opened at the end."),
        (closed + "<|im_start|>assistant\n<|im_end|>\n", "The opened turn has nothing after it: the model goes on."),
        (closed + "<|im_start|>assistant", "A line break follows the role; the model was trained to go on after it."),
    ]
    slip = likely_slip(came, slips, "Both messages, then the beginning of the assistant's turn and nothing after it.")
    expect(came, render(HELLO, "chatml", "", "", reply=True), slip)
    more = [*HELLO, {"role": "assistant", "content": "Hello.\nAgain!"}, {"role": "user", "content": " x "}]
    slip = "Contents stay as they are, with their white space."
    expect(answer(list(more), False), render(more, "chatml", "", ""), slip)


@exercise("bits_per_byte")
def grade_bits_per_byte(answer: Callable) -> None:
    """One text, two of unequal length, and letters of two bytes."""
    ln2 = math.log(2)
    came = _number(answer([[-ln2, -ln2]], ["ab"]))
    slips = [
        (ln2, "That is nats. Divided by ln 2 they are bits."),
        (-1.0, "Log-probabilities are negative, and bits are not."),
        (2.0, "Divide by the bytes."),
        (ln2 * ln2, "Divide by ln 2, do not multiply."),
    ]
    expect(came, 1.0, likely_slip(came, slips, "Two tokens of one bit each, for two bytes."))
    came = _number(answer([[-4 * ln2], [-2 * ln2, -4 * ln2]], ["ab", "abcdefgh"]))
    slips = [
        (1.375, "Sum over all texts first, then divide: a mean of means lets a short text count like a long one."),
        (10 / 3, "Per byte, not per token."),
    ]
    expect(came, 1.0, likely_slip(came, slips, "10 bits for 10 bytes: sum first, then divide."))
    came = _number(answer([[-6 * ln2]], ["né é"]))
    slips = [(1.5, "Bytes of UTF-8, not characters: an é has two bytes.")]
    expect(came, 1.0, likely_slip(came, slips, "Four characters, six bytes: an é has two bytes."))


@exercise("read_q8_0")
def grade_read_q8_0(answer: Callable) -> None:
    """A block by hand, two with scales of their own, and what the library packs."""
    block = struct.pack("<e", 0.5) + bytes([2, 254]) + bytes(30)
    came = _weights(answer(block), 32)[:3].tolist()
    slips = [
        ([1.0, 127.0, 0.0], "The bytes have a sign: 254 is -2."),
        ([2.0, -2.0, 0.0], "Each is multiplied by the scale of its block."),
    ]
    expect(came, [1.0, -1.0, 0.0], likely_slip(came, slips, "The scale is 0.5, and the bytes are 2 and -2."))
    second = struct.pack("<e", -0.25) + bytes([4] * 32)
    came = _weights(answer(block + second), 64)[30:34].tolist()
    slips = [([0.0, 0.0, 2.0, 2.0], "Each block has a scale of its own.")]
    expect(came, [0.0, 0.0, -1.0, -1.0], likely_slip(came, slips, "The second block has the scale -0.25 and fours."))
    weights = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    scales, q = quantize_blocks(weights, 8)
    packed = b"".join(
        struct.pack("<e", float(scale)) + struct.pack("32b", *map(int, row)) for scale, row in zip(scales, q.tolist())
    )
    expected = (scales.float() * q.float()).flatten()
    slip = "On eight blocks of random weights it differs. Multiply in fp32: a product in half precision is rounded."
    expect(_weights(answer(packed), 256), expected, slip, tolerance=1e-5)


def _number(came) -> float:
    try:
        return float(came)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave {came!r} where a number was expected.") from None


def _weights(came, n: int) -> Tensor:
    try:
        came = torch.as_tensor(came).float()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave {came!r} where a tensor was expected.") from None
    if came.shape != (n,):
        raise Wrong(f"it gave shape {tuple(came.shape)} where ({n},) was expected: all blocks, one after another.")
    return came
