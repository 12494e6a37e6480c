"""The committed text: made by data/make.py to the byte, described truly by its README, with nothing leaking."""

import hashlib
import importlib.util
import re
from pathlib import Path

import pytest

from minillm import tales

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="module")
def make():
    """data/make.py as a module."""
    spec = importlib.util.spec_from_file_location("data_make", DATA / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(make):
    """The documents of every committed file."""
    return {name: (DATA / name).read_text("ascii").removesuffix("\n").split("\n\n") for name in make.FILES}


def test_the_readme_tells_the_bytes_the_sums_and_the_entropy_as_they_are(make, files):
    readme = (DATA / "README.md").read_text()
    for name, documents in files.items():
        content = (DATA / name).read_bytes()
        number, size, per_character, per_document = re.search(
            rf"`{name}` \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+)", readme
        ).groups()
        assert (int(number), int(size)) == (len(documents), len(content))
        assert f"| `{name}` | `{hashlib.sha256(content).hexdigest()}` |" in readme
        assert content.endswith(b".\n") or content[-2:-1].isalpha()
        assert b"\r" not in content and b"\n\n\n" not in content
        some = documents[:1000]
        nats = -sum(tales.logprob(document) for document in some)
        exact = len(some) == len(documents)
        assert nats / sum(map(len, some)) == pytest.approx(float(per_character), abs=5e-5 if exact else 2e-3)
        assert nats / len(some) == pytest.approx(float(per_document), abs=5e-3 if exact else 2)


def test_the_files_begin_as_they_would_if_they_were_made_now(make, files):
    taken: set[str] = set()
    for name, (maker, n, _) in make.FILES.items():
        valid = "valid" in name
        documents = make.fresh(maker, n if valid else 300, 2 * make.SEED + valid, taken)
        assert [document.text for document in documents] == files[name][: len(documents)]


def test_the_examples_are_those_that_would_be_made_now(make, records):
    readme = (DATA / "README.md").read_text()
    for task in make.TASKS:
        size = 0
        for split in make.SPLITS:
            content = (DATA / f"{task}_{split}.jsonl").read_bytes()
            size += len(content)
            assert content.count(b"\n") == make.number(task, split)
            assert f"| `{task}_{split}.jsonl` | `{hashlib.sha256(content).hexdigest()}` |" in readme
            assert make.make_task(task, split, 25, make.SEED, set()) == records(f"{task}_{split}")[:25]
        numbers = ", ".join(str(make.number(task, split)) for split in make.SPLITS)
        assert f"| `{task}` | {numbers} | {size} |" in readme


def test_no_text_of_a_task_occurs_in_two_files_or_in_the_validation_tales(make, files, records):
    tales_of_validation = "\n\n".join(files["tales_valid.txt"])
    for task in make.TASKS:
        texts = [{make.first_text(example) for example in records(f"{task}_{split}")} for split in make.SPLITS]
        assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2], task
        assert not any(text in tales_of_validation for text in texts[0] | texts[1]), task


def test_no_tale_of_the_letters_occurs_in_any_other_file(make, files, records):
    whole = [set(documents) for documents in files.values()]
    for task in make.TASKS:
        whole += [{make.first_text(example) for example in records(f"{task}_{split}")} for split in make.SPLITS]
    for task in ("letters", "preferences", "prompts"):
        for split in make.SPLITS:
            texts = {make.first_text(example) for example in records(f"{task}_{split}")}
            assert len(texts) == make.number(task, split)
            assert sum(bool(texts & other) for other in whole) == 1, (task, split)


def test_no_validation_document_occurs_in_training(files):
    for domain in ("tales", "clinic"):
        train, valid = files[f"{domain}_train.txt"], files[f"{domain}_valid.txt"]
        assert not set(train) & set(valid)
        assert len(set(train)) == len(train) and len(set(valid)) == len(valid)


def test_the_vocabulary_is_of_ordinary_size_and_every_word_is_seen_often(files):
    counts: dict[str, int] = {}
    for document in files["tales_train.txt"]:
        for word in re.findall(r"[A-Za-z]+", document):
            counts[word] = counts.get(word, 0) + 1
    assert 800 <= len(counts) <= 1500
    assert min(counts.values()) >= 40
    clinic = {word for document in files["clinic_train.txt"] for word in re.findall(r"[A-Za-z]+", document)}
    assert len(clinic - set(counts)) > 100


def test_making_again_gives_the_same_bytes_and_a_larger_size_more_of_the_same(make, tmp_path, monkeypatch):
    small = {name: (maker, 20, what) for name, (maker, _, what) in make.FILES.items()}
    monkeypatch.setattr(make, "FILES", small)
    monkeypatch.setattr(make, "HELD_OUT", {"test": 6, "valid": 6})
    monkeypatch.setattr(make, "FEWER", {})
    monkeypatch.setattr(make, "TASKS", {task: (maker, 12, *rest) for task, (maker, _, *rest) in make.TASKS.items()})
    make.write_files(tmp_path / "one")
    make.write_files(tmp_path / "two")
    make.write_files(tmp_path / "three", size=3)
    tasks = [f"{task}_{split}.jsonl" for task in make.TASKS for split in make.SPLITS]
    for name in [*small, *tasks, "README.md"]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for name in small:
        one, three = ((tmp_path / folder / name).read_text() for folder in ("one", "three"))
        assert three.startswith(one[:-1])
        assert three.count("\n\n") + 1 == (20 if "valid" in name else 60)
    for name in tasks:
        one, three = ((tmp_path / folder / name).read_text() for folder in ("one", "three"))
        assert three.startswith(one)
        assert three.count("\n") == (36 if "train" in name else 6)


def test_a_size_that_makes_no_sense_is_refused(make, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["make.py", "--size", "0"])
    with pytest.raises(SystemExit) as stop:
        make.main()
    assert stop.value.code == 2
    assert "--size 0: must be 1 or more" in capsys.readouterr().err
