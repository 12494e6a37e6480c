"""What several tests of commands begin with."""

import json

import pytest


@pytest.fixture
def records(tmp_path):
    """A file of 40 short texts, each with the label 0 or 1."""
    path = tmp_path / "a.jsonl"
    rows = [{"text": f"{'good' if i % 2 else 'bad'} film number {i}", "label": i % 2} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
