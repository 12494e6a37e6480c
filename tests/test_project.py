"""What stands beside the code: versions that agree, prose that names what is there, an API reference that builds."""

import importlib
import re
import shlex
import warnings
from pathlib import Path

import pytest
import yaml  # comes with transformers
from test_house import FLOORS, imports

import minillm

ROOT = Path(__file__).resolve().parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_the_version_is_the_same_everywhere_and_the_citation_is_whole():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation.keys() >= {"cff-version", "message", "title", "authors", "version", "license", "type"}
    assert citation["cff-version"] == "1.2.0" and citation["authors"] == [{"name": "The minillm authors"}]
    project = (ROOT / "pyproject.toml").read_text()
    stated = {name: re.search(rf'^{name} = "(.+)"$', project, re.M)[1] for name in ("version", "license")}
    assert stated == {name: citation[name] for name in stated}
    assert minillm.__version__ == stated["version"]
    assert re.search(rf"^## .*\b{re.escape(minillm.__version__)}\b", CHANGELOG, re.M)


def test_the_changelog_s_new_names_are_on_the_faces():
    unreleased = re.search(r"^## Unreleased.*?(?=^## )", CHANGELOG, re.M | re.S)
    rows = re.findall(r"^\| .+ \| (.+) \|$", unreleased[0], re.M) if unreleased else []
    for room, name in re.findall(r"`minillm\.(\w+)\.(\w+)`", "\n".join(rows)):
        assert hasattr(importlib.import_module(f"minillm.{room}"), name), f"minillm.{room} offers no {name}"


def test_the_rooms_and_files_of_contributing_are_those_of_the_house():
    rooms = dict(re.findall(r"^\| `(\w+)` \| .+ \| (\d) \| .+ \|$", CONTRIBUTING, re.M))
    assert {room: int(floor) for room, floor in rooms.items()} == FLOORS
    for name in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", CONTRIBUTING):
        assert (ROOT / name).exists() or (ROOT / "minillm" / name).exists(), f"{name} is not there"
    assert len(CONTRIBUTING.splitlines()) <= 110


def test_the_api_reference_builds_without_a_warning_and_a_room_s_page_has_the_names_of_its_face(tmp_path, monkeypatch):
    pytest.importorskip("pdoc")
    from pdoc.__main__ import cli

    monkeypatch.chdir(ROOT)
    command = shlex.split(re.search(r"`python -m pdoc (.+?)`", CONTRIBUTING)[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cli([{"minillm": "minillm.system", "build/api": str(tmp_path)}.get(word, word) for word in command])
    page = (tmp_path / "minillm" / "system.html").read_text()
    for module, name in imports((ROOT / "minillm" / "system" / "__init__.py").read_text()):
        link = f'<a href="system/{module.split(".")[-1]}.html#{name}">{name}</a>'
        assert link in page, f"the page of system does not link to {name}"
    first_words = " ".join(importlib.import_module("minillm.system").__doc__.split()[:3])
    assert first_words in page and "white-space:pre-wrap" in page  # docstrings keep their lines
