"""The text of the world as files: made at first use, the same to the byte everywhere, checked against a manifest.

The files of a group (the tales, the clinic, each task) are made one after the other, what is for tests and validation
first: so none of it occurs in training, and it stays the same however much there is to train on. `data/make.py` writes
all of them, and the manifest. A file that an older version made is made anew; any other that is not right is refused.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from minillm.system import read_json, write_text
from minillm.tales.criticism import letter_stream
from minillm.tales.documents import Tale, clinic_stream, document_stream
from minillm.tales.instructions import instruction_stream, passage_stream
from minillm.tales.letters import prompt_stream
from minillm.tales.pairs import entailment_stream, next_sentence_stream, paraphrase_stream
from minillm.tales.preferences import preference_stream
from minillm.tales.tasks import sentiment_stream, tag_stream

SEED = 1
MANIFEST = Path(__file__).with_name("manifest.json")  # of each file: bytes, sha256
EARLIER = (  # how the sha256 begins of files that older versions made with other content
    *("65af568c047eeefc", "af05bd94788b69f3", "851d769849bee236", "44e0313e0bda3085"),
    *("e6a78ee74e8c07f0", "dcd3dc907e08827a", "777ddd061af2adcd", "8ee809cb10578780"),
)


@dataclass(frozen=True)
class Group:
    """How many documents each file has, in the order in which they are made; where they come from, given a seed."""

    numbers: dict[str, int]
    stream: Callable[..., Iterator[Tale | dict]]
    of_test: dict[str, bool] = field(default_factory=dict)  # what is different in the test

    @property
    def is_text(self) -> bool:
        """Whether these are documents and not the records of a task."""
        return "test" not in self.numbers

    def seed(self, split: str, seed: int) -> int:
        """A seed of its own for each file."""
        splits = ("train", "valid") if self.is_text else ("test", "valid", "train")
        return len(splits) * seed + splits.index(split)


FILE_GROUPS = {
    "tales": Group({"valid": 1_000, "train": 16_000}, document_stream),
    "clinic": Group({"valid": 300, "train": 2_000}, clinic_stream),
    "sentiment": Group({"test": 500, "valid": 200, "train": 3_000}, sentiment_stream),
    "tags": Group({"test": 500, "valid": 200, "train": 2_000}, tag_stream, {"new_names": True}),
    "next_sentence": Group({"test": 500, "valid": 200, "train": 6_000}, next_sentence_stream),
    "entailment": Group({"test": 500, "valid": 200, "train": 6_000}, entailment_stream),
    "paraphrases": Group({"test": 500, "valid": 200, "train": 3_000}, paraphrase_stream, {"scored": True}),
    "instructions": Group({"test": 200, "valid": 100, "train": 6_000}, instruction_stream),
    "passages": Group({"test": 50, "valid": 50, "train": 6_000}, passage_stream),
    "letters": Group({"test": 100, "valid": 60, "train": 3_000}, letter_stream),
    "preferences": Group({"test": 400, "valid": 200, "train": 4_000}, preference_stream, {"biased": False}),
    "prompts": Group({"test": 200, "valid": 100, "train": 1_000}, prompt_stream),
}


def data_folder() -> Path:
    """Where the files are: what MINILLM_DATA names, else data/ of a checkout, else a folder for caches."""
    if chosen := os.environ.get("MINILLM_DATA"):
        return Path(chosen).expanduser()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "data" / "make.py").is_file():
        return checkout / "data"
    caches = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "minillm"


def data_file(name: str) -> Path:
    """The path of one of the world's files, such as "tales_train.txt", which is made when it is missing or outdated.

    What is right says the manifest, or the one that `data/make.py --out` wrote beside the files.
    Raises: ValueError for an unknown name, for another file of this name, and where no file can be written.
    """
    path = data_folder() / name
    own = path.with_name(MANIFEST.name)
    manifest = read_json(own if own.is_file() else MANIFEST)
    if name not in manifest:
        raise ValueError(f"{name}: no file of the tales is called so; there are {', '.join(manifest)}")
    try:
        if not path.exists() or path.stat().st_size != manifest[name]["bytes"]:
            _make(path, manifest)
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(
            f"{path} cannot be made ({error.strerror or error}); set the environment variable MINILLM_DATA to a folder "
            "that can be written, with 30 MB free"
        ) from None
    if size != manifest[name]["bytes"]:
        raise ValueError(
            f"{path} has {size:,} bytes, but {manifest[name]['bytes']:,} are right, and it is none that minillm made: "
            "move it away, and the right one is made"
        )
    return path


def load_documents(name: str) -> list[str]:
    """The documents of one of the world's text files, which is made when it is missing."""
    return data_file(name).read_text("ascii").removesuffix("\n").split("\n\n")


def _make(path: Path, manifest: dict) -> None:
    """Make a file, and those of its group before it that are missing or outdated too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=path.parent).close()  # where nothing can be written, that is said before the work
    for name, text in make_group(path.name.rsplit("_", 1)[0]):
        if sha256(text) != manifest[name]["sha256"]:
            raise ValueError(
                f"{name}: the text made is not that of {MANIFEST.name}; where the world was changed, "
                "`python data/make.py` writes both anew"
            )
        file = path.parent / name
        outdated = file.exists() and _is_outdated(file, text)
        if outdated:
            print(f"{file}: another version of minillm made it; it is made anew", file=sys.stderr)
        if outdated or not file.exists():  # another process may have been faster
            write_text(file, text)
        if name == path.name:
            return


def _is_outdated(file: Path, text: str) -> bool:
    """Whether a file is not this text, and nobody loses by it: it is the beginning of it, or as it was once made."""
    found = file.read_bytes()
    if found == text.encode():
        return False
    return text.encode().startswith(found.rstrip(b"\n")) or hashlib.sha256(found).hexdigest().startswith(EARLIER)


def sha256(text: str) -> str:
    """The checksum of a text as it is in a file."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_group(group: str, size: int = 1, seed: int = SEED) -> Iterator[tuple[str, str]]:
    """The name and the content of each file of a group, with a progress bar; `size` times as much to train on."""
    kind, taken = FILE_GROUPS[group], set()
    for split, number in kind.numbers.items():
        documents = kind.stream(kind.seed(split, seed), **(kind.of_test if split == "test" else {}))
        texts = _fresh(documents, number * size if split == "train" else number, taken, f"{group}_{split}")
        if kind.is_text:
            yield f"{group}_{split}.txt", "\n\n".join(texts) + "\n"
        else:
            yield f"{group}_{split}.jsonl", "\n".join(texts) + "\n"


def _fresh(documents: Iterator[Tale | dict], number: int, taken: set[str], name: str) -> list[str]:
    """So many different documents as text, about nothing that is in `taken`; what they are about is added to it."""
    found: dict[str, str] = {}  # the text: what it is about
    with tqdm(total=number, desc=f"making {name}, at first use only", unit="document", leave=False) as bar:
        for document in documents:
            if (about := subject(document)) not in taken:
                found[_written(document)] = about
                bar.update(len(found) - bar.n)
            if len(found) == number:
                break
    taken.update(found.values())
    return list(found)


def _written(document: Tale | dict) -> str:
    return document.text if isinstance(document, Tale) else json.dumps(document, separators=(",", ":"))


def subject(document: Tale | dict) -> str:
    """What a document is about, which must not occur in two files: its only text, or the first of several."""
    if isinstance(document, Tale):
        return document.text
    if "messages" in document or "prompt" in document:
        return (document.get("prompt") or document["messages"][0]["content"]).split("\n\n")[0]
    return document.get("text_a") or document.get("text") or " ".join(document["tokens"])
