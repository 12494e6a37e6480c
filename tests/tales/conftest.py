"""What the tests of the tales share: the committed examples."""

import json
from functools import cache
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "data"


@cache
def _records(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("ascii").splitlines()]


@pytest.fixture(scope="session")
def records():
    """The examples of a committed file, by its name without the ending."""
    return _records
