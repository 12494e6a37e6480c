"""The slips that people make in lesson 29 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import re

import numpy as np
import pytest
import torch

from minillm.course.exercises import grade


def right_chatml(messages, reply):
    lines = [f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages]
    return "".join([*lines, "<|im_start|>assistant\n" * reply])


def right_bits(logprobs, texts):
    return -sum(map(sum, logprobs)) / math.log(2) / sum(len(text.encode("utf-8")) for text in texts)


def right_q8(data):
    blocks = np.frombuffer(data, np.uint8).reshape(-1, 34)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    return torch.from_numpy(scales * blocks[:, 2:].copy().view(np.int8)).flatten()


def in_halves(data):
    return right_q8(data).half()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("chatml_text", right_chatml),
        ("bits_per_byte", right_bits),
        ("read_q8_0", right_q8),
        ("read_q8_0", lambda data: right_q8(data).tolist()),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


@pytest.mark.parametrize("name", ["chatml_text", "bits_per_byte", "read_q8_0"])
def test_a_stub_is_not_answered_yet(name):
    def stub(*_):
        """A docstring, and nothing else."""
        ...

    assert grade(name, stub).status == "not answered yet"


def mean_of_means(logprobs, texts):
    return sum(right_bits([row], [text]) for row, text in zip(logprobs, texts)) / len(texts)


def one_scale(data):
    blocks = np.frombuffer(data, np.uint8).reshape(-1, 34)
    scale = float(blocks[0, :2].copy().view(np.float16)[0])
    return torch.from_numpy(scale * blocks[:, 2:].copy().view(np.int8)).flatten()


def no_sign(data):
    blocks = np.frombuffer(data, np.uint8).reshape(-1, 34)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    return torch.from_numpy(scales * blocks[:, 2:]).flatten()


WRONG = [
    ("chatml_text", lambda m, r: right_chatml(m, r).replace("<|im_end|>\n", "<|im_end|>"), "follows each"),
    ("chatml_text", lambda m, r: right_chatml(m, False), "is opened at the end"),
    ("chatml_text", lambda m, r: right_chatml(m, r) + "<|im_end|>\n" * r, "nothing after it"),
    ("chatml_text", lambda m, r: right_chatml(m, True), "only if reply"),
    ("chatml_text", lambda m, r: right_chatml([{**one, "content": one["content"].strip()} for one in m], r), "as they"),
    ("chatml_text", lambda m, r: list(m), "a text"),
    ("bits_per_byte", lambda p, t: right_bits(p, t) * math.log(2), "nats"),
    ("bits_per_byte", lambda p, t: -right_bits(p, t), "negative"),
    ("bits_per_byte", mean_of_means, "Sum over all"),
    ("bits_per_byte", lambda p, t: -sum(map(sum, p)) / math.log(2) / sum(map(len, t)), "two bytes"),
    ("read_q8_0", no_sign, "have a sign"),
    ("read_q8_0", one_scale, "scale of its own"),
    ("read_q8_0", in_halves, "in fp32"),
    ("read_q8_0", lambda data: right_q8(data)[:32], "all blocks"),
    ("read_q8_0", lambda data: "weights", "a tensor"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong", verdict
    assert re.search(slip, verdict.message), verdict.message
