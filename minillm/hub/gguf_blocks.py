"""The types of GGUF's tensors: how many values are in a block of how many bytes, and how bytes become numbers.

Quantised values share a scale, and some a minimum: value = scale * q + minimum in a block of 32, which has both in 16
bits; a super-block of 256 (of the types that end in _K) has many scales of few bits, with a common factor. The order of
the operations is ggml's, so the numbers are equal bit for bit. Left out: two and three bits, the i-quants.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import ndarray


def _half(bytes_: ndarray) -> ndarray:
    return np.ascontiguousarray(bytes_).view(np.float16).astype(np.float32)


def _bits(bytes_: ndarray, width: int, run: int) -> ndarray:
    """(n, bytes) -> (n, values) of `width` bits: of each `run` bytes first all the lowest bits, then those above."""
    shifts = np.arange(0, 8, width, dtype=np.uint8)[:, None]
    return ((bytes_.reshape(len(bytes_), -1, 1, run) >> shifts) & ((1 << width) - 1)).reshape(len(bytes_), -1)


def _five(b: ndarray) -> ndarray:
    return _bits(b[:, 4:], 4, 16) | (np.unpackbits(b[:, :4], axis=1, bitorder="little") << 4)


def _scales(b: ndarray) -> tuple[ndarray, ndarray]:
    """Eight scales and eight minima of 6 bits each, in 12 bytes, times those of the super-block: (n, 8, 1) both."""
    low, minimum, both = b[:, 4:8], b[:, 8:12], b[:, 12:16]
    scale = np.hstack((low & 63, (both & 15) | ((low >> 2) & 48)))
    minimum = np.hstack((minimum & 63, (both >> 4) | ((minimum >> 2) & 48)))
    return (_half(b[:, :2]) * scale)[..., None], (_half(b[:, 2:4]) * minimum)[..., None]


def _q4_k(b: ndarray) -> ndarray:
    scale, minimum = _scales(b)
    return scale * _bits(b[:, 16:], 4, 32).reshape(-1, 8, 32) - minimum


def _q5_k(b: ndarray) -> ndarray:
    scale, minimum = _scales(b)
    return scale * (_bits(b[:, 48:], 4, 32) | (_bits(b[:, 16:48], 1, 32) << 4)).reshape(-1, 8, 32) - minimum


def _q6_k(b: ndarray) -> ndarray:
    q = (_bits(b[:, :128], 4, 64) | (_bits(b[:, 128:192], 2, 32) << 4)).astype(np.int8) - np.int8(32)
    return (_half(b[:, 208:]) * b[:, 192:208].view(np.int8))[..., None] * q.reshape(-1, 16, 16)


class Type(NamedTuple):
    """How values are stored: so many in a block of so many bytes, and what turns (n, size) bytes into numbers."""

    name: str
    values: int
    size: int
    unpack: Callable[[ndarray], ndarray]


TYPES = {
    0: Type("F32", 1, 4, lambda b: b.view(np.float32)),
    1: Type("F16", 1, 2, _half),
    2: Type("Q4_0", 32, 18, lambda b: _half(b[:, :2]) * (_bits(b[:, 2:], 4, 16).astype(np.int8) - np.int8(8))),
    3: Type("Q4_1", 32, 20, lambda b: _half(b[:, :2]) * _bits(b[:, 4:], 4, 16) + _half(b[:, 2:4])),
    6: Type("Q5_0", 32, 22, lambda b: _half(b[:, :2]) * (_five(b[:, 2:]).astype(np.int8) - np.int8(16))),
    7: Type("Q5_1", 32, 24, lambda b: _half(b[:, :2]) * _five(b[:, 4:]) + _half(b[:, 2:4])),
    8: Type("Q8_0", 32, 34, lambda b: _half(b[:, :2]) * b[:, 2:].view(np.int8)),
    12: Type("Q4_K", 256, 144, _q4_k),
    13: Type("Q5_K", 256, 176, _q5_k),
    14: Type("Q6_K", 256, 210, _q6_k),
    30: Type("BF16", 1, 2, lambda b: (b.view(np.uint16).astype(np.uint32) << 16).view(np.float32)),
}
