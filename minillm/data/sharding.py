"""From files of text to shards: documents stream through all processors into files of token ids.

One process reads blocks of bytes and, in their order, writes what comes back; workers turn blocks into ids. So the
shards are the same for any number of workers. A shard ends where a block does; when it is written, `progress.json` says
from which block to go on, and a killed run that goes on ends with the same bits. Of texts that came before only keys
are kept (`text.seen`), in files until all is done.
A document is for validation if a hash of its text says so: copies of it fall on the same side.
"""

import hashlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from minillm.data.examples import corpus_frame
from minillm.data.shards import FORMAT, MANIFEST, PARTS, PROGRESS, TOKENIZER, VERSION
from minillm.system import load_file, read_object, save_file, to_json, write_json
from minillm.text import Block, Seen, Tokenizer, block_form, block_texts, clean, exact_keys, mix, near_keys, read_blocks

SHOWN = 5  # complaints about records that are kept


@dataclass(frozen=True)
class Options:
    """What decides, beside the text and the tokenizer, what is in the shards."""

    documents: str = "blank-line"
    clean: bool = False
    dedup: str = "none"  # or "exact", "near"
    valid_fraction: float = 0.01
    seed: int = 0
    shard_tokens: int = 1 << 25  # at which a shard ends


class Source(NamedTuple):
    """A file of text, what it is called in the manifest, and whether it is for validation alone."""

    path: Path
    name: str
    valid: bool = False


class Done(NamedTuple):
    """What a worker made of a block: its documents in a row of ids, what is known of each, and what it left out."""

    ids: np.ndarray
    lengths: np.ndarray  # of the documents, in ids
    characters: np.ndarray  # of each
    keys: np.ndarray  # (documents, K), of `text.seen`
    wrong: list[str]
    empty: int  # documents of which cleaning left nothing
    digest: bytes  # of the block


class Place(NamedTuple):
    """Where to go on behind a block: in which source, at which byte and line; and how much of its file is read."""

    source: int
    start: int
    line: int
    read: int


class Worker:
    """Turns blocks into ids."""

    def __init__(self, tokenizer: Tokenizer, options: Options):
        self.tokenizer, self.options = tokenizer, options
        self.dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
        self.begin, self.end = (np.array(ids, self.dtype) for ids in corpus_frame(tokenizer))

    def __call__(self, block: Block) -> Done:
        texts, wrong = block_texts(block)
        found = [text for text in map(clean, texts) if text] if self.options.clean else texts
        rows = self.tokenizer.encode_arrays(found, threads=1)
        rows = [piece for ids in rows for piece in (self.begin, ids.astype(self.dtype), self.end)]
        lengths = np.array([len(row) for row in rows], np.int64).reshape(-1, 3).sum(1)
        ids = np.concatenate([np.zeros(0, self.dtype), *rows])
        keys = (near_keys if self.options.dedup == "near" else exact_keys)(found)
        characters, digest = np.array([len(text) for text in found], np.int64), hashlib.sha256(block.bytes()).digest()
        return Done(ids, lengths, characters, keys, wrong, len(texts) - len(found), digest)


def _begin_worker(tokenizer: Path, options: Options, parent: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _worker = Worker(Tokenizer.load(tokenizer), options)

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _work(block: Block) -> Done:
    return _worker(block)


def worked(found: Iterator[tuple[int, Block]], tokenizer: Path, options: Options, workers: int) -> Iterator:
    """For each numbered block its `Place`, and what workers make of it, in order.

    Raises: ValueError where a worker dies.
    """
    if workers == 1:
        worker = Worker(Tokenizer.load(tokenizer), options)
        yield from ((Place(number, *block.after(), block.read), worker(block)) for number, block in found)
        return
    # A forked worker shares what is imported; it computes nothing with torch, whose threads do not survive a fork.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=(tokenizer, options, os.getpid()))
    waiting: deque = deque()
    try:
        for number, block in found:
            waiting.append((Place(number, *block.after(), block.read), pool.submit(_work, block)))
            if len(waiting) > 2 * workers:
                place, future = waiting.popleft()
                yield place, future.result()
        yield from ((place, future.result()) for place, future in waiting)
    except BrokenProcessPool:
        raise ValueError("a worker process was killed, maybe for want of memory: go on with fewer --workers") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class Sharding:
    """The work on a folder of shards: what is buffered, and what is known of all that is written."""

    def __init__(self, out: Path, sources: Sequence[Source], options: Options, made: dict):
        """made: what the manifest says of the settings."""
        self.out, self.sources, self.options = out, sources, options
        self.tokenizer = Tokenizer.load(out / TOKENIZER)
        made_of = [asdict(options), [[source.name, source.valid] for source in sources], self.tokenizer.fingerprint]
        self.state = {
            "format": FORMAT,
            "version": VERSION,
            "made": made,
            "made_by": hashlib.sha256(to_json(made_of).encode()).hexdigest(),
            "tokenizer": self.tokenizer.fingerprint,
            "vocab_size": self.tokenizer.vocab_size,
            "text": "",  # a checksum of all blocks so far
            "parts": {part: {"tokens": 0, "documents": 0, "characters": 0, "shards": []} for part in PARTS},
            "left_out": {"copies": 0, "empty": 0, "wrong": 0, "for_example": []},
            "commits": 0,
            "place": [0, 0, 1],
        }
        self.seen, self.buffer = Seen(), {part: [] for part in PARTS}
        self.new_keys: list[np.ndarray] = []

    def go_on(self) -> None:
        """Take up what `progress.json` says was done."""
        saved = read_object(self.out / PROGRESS)
        if "state" not in saved:
            return
        if saved["state"]["made_by"] != self.state["made_by"]:
            raise ValueError(f"{self.out} was begun with other settings or another tokenizer: name a new folder")
        self.state = saved["state"]
        for number in range(self.state["commits"] if self.options.dedup != "none" else 0):
            self.seen.keep(load_file(self._keys_file(number))[0]["keys"].numpy().view(np.uint64))

    def run(self, workers: int, progress: Callable[[int], None], saved: dict) -> dict:
        """All that is left to do; progress is told how many bytes of the files are read. Returns: the manifest."""
        before = np.cumsum([0, *(os.path.getsize(source.path) for source in self.sources)])
        for place, done in worked(self._blocks(), self.out / TOKENIZER, self.options, workers):
            self._take(done, self.sources[place.source].valid)
            self.state["place"] = list(place[:3])
            if sum(len(ids) for ids, *_ in self.buffer["train"]) >= self.options.shard_tokens:
                self._commit(saved)
            progress(int(before[place.source]) + place.read)
        self._fill_both_sides()
        self._commit(saved)
        return self._finish()

    def _blocks(self) -> Iterator[tuple[int, Block]]:
        first, start, line = self.state["place"]
        for number in range(first, len(self.sources)):
            path = self.sources[number].path
            for block in read_blocks(path, block_form(path, self.options.documents), start, line):
                yield number, block
            start, line = 0, 1

    def _take(self, done: Done, valid: bool) -> None:
        """Sort the documents of a block into the buffers."""
        state, keys = self.state, done.keys
        state["text"] = hashlib.sha256(bytes.fromhex(state["text"]) + done.digest).hexdigest()
        for what, number in (("empty", done.empty), ("wrong", len(done.wrong))):
            state["left_out"][what] += number
        examples = state["left_out"]["for_example"]
        examples += done.wrong[: SHOWN - len(examples)]
        if 2 * len(done.wrong) > len(done.wrong) + len(done.lengths):
            raise ValueError(f"{done.wrong[0]} (and so with {len(done.wrong):,} records near it)")
        new = np.ones(len(done.lengths), bool)
        if self.options.dedup != "none":
            new = self.seen.add(keys)
            self.new_keys.append(np.unique(keys))
            state["left_out"]["copies"] += int((~new).sum())
        chosen = mix(keys[:, 0] + np.uint64(self.options.seed)) < np.uint64(self._share(valid) * (2**64 - 1))
        for part, mine in (("train", new & ~(chosen | valid)), ("valid", new & (chosen | valid))):
            if mine.any():
                ids = done.ids[np.repeat(mine, done.lengths)]
                self.buffer[part].append((ids, done.lengths[mine], done.characters[mine]))

    def _share(self, valid: bool) -> float:
        return 0.0 if valid or any(source.valid for source in self.sources) else self.options.valid_fraction

    def _fill_both_sides(self) -> None:
        """Of a text so short that no document was chosen for a side, the last one is. Raises: ValueError for one."""
        for part, other in (PARTS, PARTS[::-1]):
            if self.state["parts"][part]["documents"] or self.buffer[part]:
                continue
            if sum(len(lengths) for _, lengths, _ in self.buffer[other]) < 2 or any(one.valid for one in self.sources):
                raise ValueError(
                    f"there is too little text: no document is left for {part}; bring more, separate documents by "
                    "blank lines, or give --valid"
                )
            ids, lengths, characters = self.buffer[other].pop()
            cut = len(ids) - lengths[-1]
            self.buffer[part].append((ids[cut:], lengths[-1:], characters[-1:]))
            if cut:
                self.buffer[other].append((ids[:cut], lengths[:-1], characters[:-1]))

    def _commit(self, saved: dict) -> None:
        """Write what is buffered, then that it is written."""
        number = self.state["commits"]
        for part in PARTS:
            if self.buffer[part]:
                self._write(part, number)
        if self.options.dedup != "none":
            keys = np.unique(np.concatenate([np.zeros(0, np.uint64), *self.new_keys])).view(np.int64)
            save_file({"keys": torch.from_numpy(keys)}, self._keys_file(number))
        self.new_keys = []
        self.state["commits"] = number + 1
        write_json(self.out / PROGRESS, {**saved, "state": self.state})

    def _write(self, part: str, number: int) -> None:
        ids, lengths, characters = (np.concatenate(some) for some in zip(*self.buffer[part]))
        self.buffer[part] = []
        name, state = f"{part}-{number:05}.safetensors", self.state["parts"][part]
        tensors = {"ids": torch.from_numpy(ids), "starts": torch.from_numpy(lengths.cumsum() - lengths)}
        save_file(tensors, self.out / name, {"of": self.state["made_by"], "text": self.state["text"]})
        state["tokens"] += len(ids)
        state["documents"] += len(lengths)
        state["characters"] += int(characters.sum())
        state["shards"].append(
            {"file": name, "tokens": len(ids), "documents": len(lengths), "text": self.state["text"]}
        )

    def _keys_file(self, number: int) -> Path:
        return self.out / f"keys-{number:05}.safetensors"

    def _finish(self) -> dict:
        manifest = {key: value for key, value in self.state.items() if key not in ("commits", "place")}
        manifest["fingerprint"] = hashlib.sha256(to_json(manifest).encode()).hexdigest()
        write_json(self.out / MANIFEST, manifest)
        clean_up(self.out)
        return manifest


def sample(sources: Sequence[Source], options: Options, size: float, total: float) -> Iterator[str]:
    """Documents from all over the files, about `size` of their `total` bytes, as the shards will hold them."""
    every, number = max(round(total / size), 1), 0
    for source in sources:
        for block in read_blocks(source.path, block_form(source.path, options.documents)):
            if number % every == 0:
                texts, _ = block_texts(block)
                yield from filter(None, map(clean, texts)) if options.clean else texts
            number += 1


def clean_up(out: Path) -> None:
    """Delete what was needed only until the shards were finished."""
    for path in (*out.glob("keys-*.safetensors"), out / PROGRESS):
        path.unlink(missing_ok=True)
