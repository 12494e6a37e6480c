"""The text of the world: made at first use to the byte, where it belongs, described truly, with nothing leaking."""

import errno
import hashlib
import importlib.util
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from minillm import tales
from minillm.tales import data_file, files, load_documents
from minillm.tales.files import FILE_GROUPS, MANIFEST
from minillm.text import read_documents

ROOT = Path(__file__).resolve().parents[2]
SUMS = json.loads(MANIFEST.read_text())
TEXTS = [f"{group}_{split}.txt" for group in ("tales", "clinic") for split in FILE_GROUPS[group].numbers]
TASKS = [group for group, about in FILE_GROUPS.items() if not about.is_text]
SPLITS = ("test", "valid", "train")


def is_right(path: Path) -> bool:
    """Whether a file has the bytes that the manifest says."""
    content = path.read_bytes()
    return SUMS[path.name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder, in which the files belong."""
    monkeypatch.setenv("MINILLM_DATA", str(tmp_path / "texts"))
    return tmp_path / "texts"


@pytest.fixture
def make(monkeypatch):
    """data/make.py as a module."""
    spec = importlib.util.spec_from_file_location("data_make", ROOT / "data" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def texts():
    """The documents of every text file."""
    return {name: load_documents(name) for name in TEXTS}


@pytest.fixture(scope="module")
def subjects(records):
    """What the examples of a file of a task are about."""
    return cache(lambda task, split: {files.subject(example) for example in records(f"{task}_{split}")})


@pytest.mark.parametrize("name", SUMS)
def test_a_file_is_what_the_manifest_says(name):
    assert is_right(data_file(name))


@pytest.mark.parametrize("group", FILE_GROUPS)
def test_what_is_scored_is_made_to_the_byte_in_an_empty_folder_and_is_what_is_committed(group, empty, capsys):
    scored = [name for name in SUMS if name.rsplit("_", 1)[0] == group and "_train" not in name]
    assert data_file(scored[-1]) == empty / scored[-1]
    assert sorted(path.name for path in empty.iterdir()) == sorted(scored)
    for name in scored:
        assert is_right(empty / name) and is_right(ROOT / "data" / name)
    shown = capsys.readouterr()
    assert f"making {group}_valid, at first use only" in shown.err and not shown.out


@pytest.mark.lessons  # a minute in all
@pytest.mark.parametrize("group", FILE_GROUPS)
def test_all_of_a_group_is_made_to_the_byte_in_an_empty_folder(group, empty):
    names = [name for name in SUMS if name.rsplit("_", 1)[0] == group]
    data_file(names[-1])
    assert sorted(path.name for path in empty.iterdir()) == sorted(names) and all(is_right(empty / n) for n in names)


def test_what_is_trained_on_begins_as_it_would_if_it_were_made_now(records, texts):
    for group, about in FILE_GROUPS.items():
        made = about.stream(about.seed("train", files.SEED))
        found = texts[f"{group}_train.txt"] if about.is_text else records(f"{group}_train")
        for i in range(0, 20):
            document = next(made)
            assert (document.text if about.is_text else document) == found[i]


def test_only_what_is_read_and_scored_is_committed():
    assert "/data/*_train.*" in (ROOT / ".gitignore").read_text().splitlines()
    assert sum(about["bytes"] for name, about in SUMS.items() if "_train" not in name) < 4e6
    assert f'"minillm.tales" = ["{MANIFEST.name}"]' in (ROOT / "pyproject.toml").read_text()


def test_a_file_that_is_there_is_not_made_again(empty, monkeypatch):
    path = data_file("prompts_test.jsonl")
    monkeypatch.setattr(files, "make_group", None)
    assert data_file("prompts_test.jsonl") == path


def test_a_file_of_fewer_documents_or_of_an_earlier_world_is_made_anew_and_that_is_said(empty, monkeypatch, capsys):
    path, valid = data_file("clinic_valid.txt"), data_file("prompts_test.jsonl")
    whole, other = path.read_bytes(), b"documents of another world\n"
    assert not capsys.readouterr().err.count("another version")
    few = b"\n\n".join(whole.split(b"\n\n")[:100]) + b"\n"  # as with another count
    monkeypatch.setattr(files, "EARLIER", (*files.EARLIER, hashlib.sha256(other).hexdigest()[:16]))
    for old in (few, whole[:-1000], b"", other):
        path.write_bytes(old)
        assert data_file("clinic_valid.txt") == path and path.read_bytes() == whole
        said = [line for line in capsys.readouterr().err.splitlines() if "another version" in line]
        assert [line.split("\r")[-1] for line in said] == [
            f"{path}: another version of minillm made it; it is made anew"
        ]
    assert is_right(valid)


@pytest.mark.parametrize("change", [lambda own: own + b"\n\nA line of mine.\n", lambda own: b"My text.\n" + own])
def test_a_file_that_holds_anything_else_is_refused_and_stays(empty, change):
    path = data_file("clinic_valid.txt")
    mine = change(path.read_bytes())
    path.write_bytes(mine)
    said = (
        f"has {len(mine):,} bytes, but 120,767 are right, and it is none that minillm made: move it away, and the right"
    )
    with pytest.raises(ValueError, match=f"clinic_valid.txt {said} one is made"):
        data_file("clinic_valid.txt")
    assert path.read_bytes() == mine


def test_the_sums_of_earlier_files_are_of_none_that_is_made_today():
    assert not {about["sha256"][:16] for about in SUMS.values()} & set(files.EARLIER)
    assert {len(start) for start in files.EARLIER} == {16}


def test_where_nothing_can_be_written_a_sentence_says_how_to_move(empty, monkeypatch):
    empty.write_text("a file")
    with pytest.raises(
        ValueError, match=r"cannot be made \(.*\); set the environment variable MINILLM_DATA to a folder"
    ):
        data_file("prompts_test.jsonl")
    empty.unlink()

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_text", full)
    with pytest.raises(
        ValueError, match=r"prompts_test.jsonl cannot be made \(No space left on device\); set .*MINILLM"
    ):
        data_file("prompts_test.jsonl")


def test_another_world_is_not_taken_for_this_one(empty, monkeypatch):
    monkeypatch.setitem(FILE_GROUPS, "prompts", replace(FILE_GROUPS["prompts"], numbers={"test": 2}))
    with pytest.raises(ValueError, match=r"prompts_test.jsonl: the text made is not that of manifest.json; .*make.py"):
        data_file("prompts_test.jsonl")
    assert not list(empty.iterdir())
    with pytest.raises(ValueError, match=r"tales.txt: no file of the tales is called so; there are tales_valid.txt, "):
        data_file("tales.txt")


def test_two_may_make_a_file_at_once(empty):
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(data_file, ["clinic_valid.txt"] * 2))) == 1
    assert [path.name for path in empty.iterdir()] == ["clinic_valid.txt"] and is_right(empty / "clinic_valid.txt")


def test_the_files_of_a_checkout_are_in_it_and_those_of_an_installation_in_a_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MINILLM_DATA", raising=False)
    assert files.data_folder() == ROOT / "data"
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site" / "minillm" / "tales" / "files.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    assert files.data_folder() == tmp_path / "cache" / "minillm"
    monkeypatch.setenv("MINILLM_DATA", "~/texts")
    assert files.data_folder() == Path.home() / "texts"


def test_documents_are_loaded_as_they_would_be_read(texts):
    for name in ("tales_valid.txt", "clinic_valid.txt"):
        assert texts[name] == read_documents(data_file(name))


def test_the_readme_tells_the_bytes_the_sums_and_the_entropy_as_they_are(texts):
    readme = (ROOT / "data" / "README.md").read_text()
    for name, about in SUMS.items():
        assert f"| `{name}` | `{about['sha256']}` |" in readme
    for name, documents in texts.items():
        content = data_file(name).read_bytes()
        number, size, per_character, per_document = re.search(
            rf"`{name}` \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+)", readme
        ).groups()
        assert (int(number), int(size)) == (len(documents), len(content))
        assert content.endswith(b".\n") or content[-2:-1].isalpha()
        assert b"\r" not in content and b"\n\n\n" not in content
        some = documents[:1000]
        nats = -sum(tales.logprob(document) for document in some)
        exact = len(some) == len(documents)
        assert nats / sum(map(len, some)) == pytest.approx(float(per_character), abs=5e-5 if exact else 2e-3)
        assert nats / len(some) == pytest.approx(float(per_document), abs=5e-3 if exact else 2)


def test_the_readme_tells_the_number_of_examples_and_their_bytes(records):
    readme = (ROOT / "data" / "README.md").read_text()
    for task in TASKS:
        numbers = [len(records(f"{task}_{split}")) for split in SPLITS]
        assert numbers == [FILE_GROUPS[task].numbers[split] for split in SPLITS]
        size = sum(SUMS[f"{task}_{split}.jsonl"]["bytes"] for split in SPLITS)
        assert f"| `{task}` | {', '.join(map(str, numbers))} | {size} |" in readme


def test_no_text_of_a_task_occurs_in_two_files_or_in_the_validation_tales(texts, subjects):
    tales_of_validation = "\n\n".join(texts["tales_valid.txt"])
    for task in TASKS:
        test, valid, train = (subjects(task, split) for split in SPLITS)
        assert not test & valid and not test & train and not valid & train, task
        assert not any(text in tales_of_validation for text in test | valid), task


def test_no_tale_of_the_letters_occurs_in_any_other_file(texts, subjects):
    whole = [set(documents) for documents in texts.values()]
    whole += [subjects(task, split) for task in TASKS for split in SPLITS]
    for task in ("letters", "preferences", "prompts"):
        for split in SPLITS:
            about = subjects(task, split)
            assert len(about) == FILE_GROUPS[task].numbers[split]
            assert sum(bool(about & other) for other in whole) == 1, (task, split)


def test_no_validation_document_occurs_in_training(texts):
    for domain in ("tales", "clinic"):
        train, valid = texts[f"{domain}_train.txt"], texts[f"{domain}_valid.txt"]
        assert not set(train) & set(valid)
        assert len(set(train)) == len(train) and len(set(valid)) == len(valid)


def test_the_vocabulary_is_of_ordinary_size_and_every_word_is_seen_often(texts):
    counts: dict[str, int] = {}
    for document in texts["tales_train.txt"]:
        for word in re.findall(r"[A-Za-z]+", document):
            counts[word] = counts.get(word, 0) + 1
    assert 800 <= len(counts) <= 1500
    assert min(counts.values()) >= 40
    clinic = {word for document in texts["clinic_train.txt"] for word in re.findall(r"[A-Za-z]+", document)}
    assert len(clinic - set(counts)) > 100


def test_making_again_gives_the_same_bytes_and_a_larger_size_more_of_the_same(make, tmp_path, monkeypatch):
    for group, about in FILE_GROUPS.items():
        monkeypatch.setitem(FILE_GROUPS, group, replace(about, numbers={split: 6 for split in about.numbers}))
    make.write_files(tmp_path / "one")
    make.write_files(tmp_path / "two")
    make.write_files(tmp_path / "three", size=3)
    monkeypatch.setenv("MINILLM_DATA", str(tmp_path / "three"))
    assert len(load_documents("tales_train.txt")) == 18  # the manifest beside them says what is right
    for name in [*SUMS, "README.md", MANIFEST.name]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for name in SUMS:
        one, three = ((tmp_path / folder / name).read_text() for folder in ("one", "three"))
        assert three.startswith(one[:-1])
        assert three.count("\n\n" if name in TEXTS else "}\n") + (name in TEXTS) == (18 if "train" in name else 6)
    assert json.loads((tmp_path / "one" / MANIFEST.name).read_text()).keys() == SUMS.keys()


def test_a_size_that_makes_no_sense_is_refused(make, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["make.py", "--size", "0"])
    with pytest.raises(SystemExit) as stop:
        make.main()
    assert stop.value.code == 2
    assert "--size 0: must be 1 or more" in capsys.readouterr().err
