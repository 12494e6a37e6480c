"""The text of the world that comes with minillm, as files."""

from pathlib import Path

from minillm.text import read_documents

DATA = Path(__file__).resolve().parents[2] / "data"


def tale_documents(name: str) -> list[str]:
    """The documents of a file in data/."""
    return read_documents(DATA / name)
