"""A corpus larger than memory: token ids in shards, mapped into memory and read where they are touched.

A folder of shards is made by `sharding`: a tokenizer, a manifest that says what is there and what made it, and for each
part ("train", "valid") files with the ids of whole documents in a row, and where these start. All shards of a part are
one long row, as `Tokens` is: a window may reach from one into the next, and how large they are changes nothing.
The order of windows is that of `Batches`, a function of the seed and the epoch, so it can be resumed at any place and
is the same for any number of processes.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minillm.data.batches import Padded, Tokens
from minillm.data.examples import corpus_frame
from minillm.system import Damaged, Fields, map_file, read_object
from minillm.text import Tokenizer

MANIFEST, PROGRESS, TOKENIZER = "manifest.json", "progress.json", "tokenizer.json"
FORMAT, VERSION = "minillm shards", 1
PARTS = ("train", "valid")
RELEASED = 64  # batches after which the pages that they touched are given back


def is_shards(path: str | os.PathLike) -> bool:
    """Whether a path is a folder of shards, finished or not."""
    return any((Path(path) / name).is_file() for name in (MANIFEST, PROGRESS))


class MappedIds:
    """The ids of several files as one row, indexed as a tensor is: by a slice, or by places (of any shape)."""

    def __init__(self, files: Sequence[os.PathLike], ids: Sequence[Tensor], release: Sequence[Callable]):
        self.files, self.release, self.touched = files, release, 0
        self.ids = [one.numpy() for one in ids]
        self.bounds = np.array([0, *accumulate(map(len, self.ids))])

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            assert step == 1, "ids are read in a row"
            return torch.from_numpy(self._row(start, max(start, stop)))
        places = index.numpy()
        shard = np.searchsorted(self.bounds, places, side="right") - 1
        found = np.empty(places.shape, np.int64)
        for number in np.unique(shard):
            here = shard == number
            found[here] = self.ids[number][places[here] - self.bounds[number]]
        self._give_back()
        return torch.from_numpy(found)

    def _row(self, start: int, stop: int) -> np.ndarray:
        found = np.empty(stop - start, np.int64)
        number, at = bisect_right(self.bounds, start) - 1, start
        while at < stop:
            here = self.ids[number][at - self.bounds[number] : stop - self.bounds[number]]
            found[at - start : at - start + len(here)] = here
            at, number = at + len(here), number + 1
        self._give_back()
        return found

    def _give_back(self) -> None:
        """What was read stays in the system's cache, where there is room, and does not count as ours."""
        self.touched += 1
        if self.touched % RELEASED == 0:
            for release in self.release:
                release()


class Shards:
    """A folder of shards that is finished, with its tokenizer; `tokens` is what a part of it holds."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if not (self.path / MANIFEST).is_file():
            raise ValueError(f"{path}: these shards are not finished: go on with prepare --resume --out {path}")
        self.manifest = read_object(self.path / MANIFEST)
        if self.manifest["format"] != FORMAT or self.manifest["version"] != VERSION:
            raise ValueError(f"{self.path / MANIFEST} is not of the shards of this minillm: make them anew by prepare")
        self.tokenizer = Tokenizer.load(self.path / TOKENIZER)
        self.fits(self.tokenizer, f"{self.path / TOKENIZER}")

    def fits(self, tokenizer: Tokenizer, origin: object) -> None:
        """Raises: ValueError for another tokenizer than that of the shards. Args: origin: where it is from."""
        if tokenizer.fingerprint != self.manifest["tokenizer"]:
            raise ValueError(
                f"the shards in {self.path} were made with another tokenizer than that of {origin}: "
                f"make them with it (prepare --from), or train a new model, which takes theirs"
            )

    def part(self, name: str) -> Fields:
        """What the manifest says of a part."""
        path = self.path / MANIFEST
        found = Fields(self.manifest["parts"], path)[name]
        return Fields(found, path).check(tokens=int, documents=int, characters=int, shards=list)

    @property
    def fingerprint(self) -> str:
        """A checksum by which the same text, tokenizer and settings are known again."""
        return self.manifest["fingerprint"]

    def tokens(self, part: str) -> Tokens:
        """The ids of a part, mapped. Raises: ValueError, naming the file, for a shard that is missing or damaged."""
        listed = self.part(part)["shards"]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # checksums are most of the work
            mapped = list(pool.map(self._checked, listed))
        begins = accumulate((len(one.tensors["ids"]) for one in mapped[:-1]), initial=0)
        starts = [one.tensors["starts"] + begin for begin, one in zip(begins, mapped)]
        starts = torch.cat(starts) if starts else torch.zeros(0, dtype=torch.long)
        files = [self.path / shard["file"] for shard in listed]
        ids = MappedIds(files, [one.tensors["ids"] for one in mapped], [one.file.release for one in mapped])
        begin, end = corpus_frame(self.tokenizer)
        return Tokens(ids, starts, begin[0] if begin and end else None)

    def _checked(self, shard: dict):
        path = self.path / MANIFEST
        shard = Fields(shard, path).check(file=str, tokens=int, documents=int, text=str)
        path = self.path / shard["file"]
        try:
            mapped = map_file(path)
        except ValueError as error:
            raise ValueError(f"{error}: put the shard back, or prepare the text again") from None
        said = {"of": self.manifest["made_by"], "text": shard["text"]}
        sizes = {name: len(mapped.tensors.get(name, ())) for name in ("ids", "starts")}
        if mapped.metadata != said or sizes != {"ids": shard["tokens"], "starts": shard["documents"]}:
            raise Damaged(f"{path} is not the shard that {self.path / MANIFEST} means: put the right file back")
        mapped.file.release()
        return mapped


class Documents(Sequence):
    """The documents of a corpus one by one, as lists of ids without what stands around them."""

    def __init__(self, tokens: Tokens, tokenizer: Tokenizer):
        begin, end = ([], []) if tokens.starts is None else corpus_frame(tokenizer)
        starts = torch.zeros(1, dtype=torch.long) if tokens.starts is None else tokens.starts
        self.ids, self.starts = tokens.ids, starts + len(begin)
        self.lengths = torch.diff(starts, append=torch.tensor([len(tokens)])) - len(begin) - len(end)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int, skip: int = 0, most: int | None = None) -> list[int]:
        start, length = int(self.starts[number]) + skip, int(self.lengths[number]) - skip
        return self.ids[start : start + (length if most is None else min(length, most))].tolist()


class Pieces(Sequence):
    """Documents cut into pieces of at most `room` ids, each as a group of one example, made when it is asked for.

    Args: make: an example of the ids of a piece; around: special tokens that it puts there.
    """

    def __init__(self, documents: Documents, room: int, make: Callable[[list[int]], dict], around: int):
        self.documents, self.room, self.make = documents, room, make
        number = -(-documents.lengths // room)
        self.of = torch.repeat_interleave(torch.arange(len(documents)), number)  # which document a piece is of
        first = number.cumsum(0) - number
        self.skip = (torch.arange(len(self.of)) - first[self.of]) * room
        self.lengths = (documents.lengths[self.of] - self.skip).clamp(max=room) + around

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, piece: int) -> tuple[dict]:
        return (self.make(self.documents.__getitem__(int(self.of[piece]), int(self.skip[piece]), self.room)),)


class PaddedPieces(Padded):
    """`Padded` over examples that are made when they are asked for: a sequence of groups, with `lengths`."""

    def __init__(self, pieces: Sequence, pad_id: int, batch_size: int, seed: int | None = None, change=None):
        super().__init__([], pad_id, batch_size, seed, change)
        self.examples, self.groups, self.lengths = len(pieces), pieces, pieces.lengths
