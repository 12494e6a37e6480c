"""What the tests of the tales share: the examples of the tasks."""

import json
from functools import cache

import pytest

from minillm.tales import data_file


@cache
def _records(name: str) -> list[dict]:
    return [json.loads(line) for line in data_file(f"{name}.jsonl").read_text("ascii").splitlines()]


@pytest.fixture(scope="session")
def records():
    """The examples of a file, by its name without the ending."""
    return _records
