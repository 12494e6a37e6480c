"""`train.py prepare`: text that does not fit into memory becomes shards of token ids, which pretrain and mlm read."""

import contextlib
import glob
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from minillm import __version__
from minillm.cli.flags import auto, flag, flag_name, program, refuse
from minillm.cli.opening import as_saved, check_folder, restore_settings, saved_settings
from minillm.data import MANIFEST, PROGRESS, TOKENIZER, Options, Sharding, Source, clean_up, sample
from minillm.hub import load_tokenizer, source
from minillm.system import FolderLock, duration, read_object, reading, sweep, write_json
from minillm.text import Tokenizer, block_form, text_files

WORKERS_A_CORE = 16  # more are a slip
PACKED = 3  # times as long as a .gz or .parquet is its text, about
VALID_BYTES, VALID_MOST = 4e6, 0.1  # of text that is kept aside where nobody says; the largest share of it


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What is prepared."""

    data: Path | None = flag(
        None,
        'a file, a folder, or a "pattern" of files: .txt with blank lines between documents, .jsonl with {"text"}, '
        ".gz of these, .parquet (with pyarrow)",
    )
    documents: str = flag(
        "blank-line", "what separates the documents of a .txt; file: each is one", choices=("blank-line", "file")
    )
    valid: Path | None = flag(None, "text to measure on; without it a share of --data is kept aside")
    valid_fraction: float | None = auto("share of the documents that is kept aside; auto: about 4 MB, at most a tenth")
    clean: bool = flag(False, "tidy each document: mark-up, invisible characters, Unicode form, white space")
    dedup: str = flag(
        "none",
        "leave out documents that came before: exact (but for case and space), or near: 92 of 100 that share 80 of "
        "100 runs of five words, and 5 of 100 that share half",
        choices=("none", "exact", "near"),
    )
    tokenizer: str = flag("bpe", "bpe or characters, trained on the text; gpt2; or the path of a tokenizer.json")
    from_: Path | None = flag(None, "take the tokenizer of a run, a Hugging Face folder or a GGUF file")
    vocab_size: int = flag(16384, "tokens of a bpe tokenizer, special ones included", most=1 << 24)
    sample: int = flag(32, "MB of text, from all over the files, that a bpe tokenizer is trained on")
    shard_tokens: int = flag(1 << 25, "tokens of a shard; what is done is safe after each")
    out: Path | None = flag(None, "folder of the shards")
    resume: bool = flag(False, "go on in the folder --out where a run was stopped")
    workers: int | None = auto("processes; auto: one a processor core. The shards are the same for any number")
    seed: int = flag(0, "of the choice of documents that are kept aside")

    def __post_init__(self):
        for name in ("sample", "shard_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{flag_name(name)} {getattr(self, name)} is too small: it must be at least 1")
        if (self.workers or 1) < 1:
            raise ValueError(f"--workers {self.workers}: there must be at least one")
        if (self.workers or 1) > WORKERS_A_CORE * processors():
            raise ValueError(f"--workers {self.workers} is too many: this machine has {processors()} processor cores")
        if self.valid_fraction is not None and not 0 < self.valid_fraction < 1:
            raise ValueError(f"--valid-fraction {self.valid_fraction} must lie between 0 and 1, such as 0.01")


def run_prepare(settings: PrepareSettings, given: dict) -> int:
    """Turn text of any size into shards of token ids, in little memory, on all processor cores.

    python train.py prepare --data corpus/ --out shards                       every text file in a folder
    python train.py prepare --data "web-*.jsonl.gz" --clean --dedup exact --out shards
    python train.py prepare --data more.txt --from runs/pretrain --out more   with the tokenizer of a run
    python train.py prepare --resume --out shards                             go on where it was stopped
    python train.py pretrain --data shards                                    and mlm: read them

    The tokenizer is trained on a sample (--sample), or given (--tokenizer, --from). A record that is none is left out
    and counted. The folder has a manifest.json, which says what made it and what is in it, the tokenizer, and files of
    ids with checksums. If it is killed, at most a shard is done again, and the same bits come out.
    """
    if settings.out is None:
        raise ValueError("prepare needs --out, a folder for the shards")
    check_folder(settings.out)
    with claimed_shards(settings, given) as (settings, saved):
        if (settings.out / MANIFEST).exists():
            clean_up(settings.out)
            print(f"{settings.out} is finished: train on it with: {program()} pretrain --data {settings.out}")
            return 0
        try:
            return prepare(settings, saved)
        except KeyboardInterrupt:
            print(f"stopped; go on with: {program()} prepare --resume --out {settings.out}")
            return 130


@contextlib.contextmanager
def claimed_shards(settings: PrepareSettings, given: dict) -> Iterator[tuple[PrepareSettings, dict]]:
    """The folder, locked during the block: the settings that hold in it, and what was written down of them."""
    out = settings.out
    if settings.resume:
        if not any((out / name).exists() for name in (MANIFEST, PROGRESS)):
            raise ValueError(f"--resume: no work on shards was begun in {out}; leave --resume out")
    else:
        if settings.data is None:
            raise ValueError("prepare needs --data, a file or a folder of text")
        if "from_" in given:
            refuse(given, ("tokenizer", "vocab_size", "sample"), f"the tokenizer is that of {settings.from_}")
        if settings.tokenizer != "bpe":
            refuse(given, ("vocab_size", "sample"), "they are of a bpe tokenizer that is trained")
        if (out / PROGRESS).exists():
            raise ValueError(f"--out {out}: work was begun there; go on with --resume, or name a new folder")
        if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise ValueError(f"--out {out}: there is something in this folder already; name a new one")
        saved = written_down(settings)  # before the folder is there: what is wrong leaves nothing
    out.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(out)
    lock.acquire()
    try:
        sweep(out)
        if not settings.resume:
            write_json(out / PROGRESS, saved)
        elif (out / PROGRESS).exists() and not (out / MANIFEST).exists():
            saved = read_object(out / PROGRESS)
            settings = resumed(settings, given, saved)
        else:
            saved = {}
        yield settings, saved
    finally:
        lock.release()


def written_down(settings: PrepareSettings) -> dict:
    """What a stopped run needs to go on: the settings, and by which marks the files are known again."""
    files = [[os.path.abspath(one.path), *marks(one.path)] for one in find_sources(settings)]
    kept = {name: value for name, value in saved_settings(settings).items() if name not in ("out", "resume", "workers")}
    return {"settings": kept, "files": files}


def marks(path: Path) -> list[int]:
    """The size of a file and when it was changed."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns]


def resumed(settings: PrepareSettings, given: dict, saved: dict) -> PrepareSettings:
    """The settings of a run that goes on. Raises: ValueError for flags that differ, and for text that was changed."""
    known = saved["settings"]
    for name, value in given.items():
        if name not in ("out", "resume", "workers") and as_saved(value) != known.get(name):
            raise ValueError(
                f"--resume goes on with the settings of {settings.out}, where {flag_name(name)} is {known.get(name)}, "
                f"not {value}: leave the flag out"
            )
    with reading(settings.out / PROGRESS):
        own = {"out": os.path.abspath(settings.out), "resume": True, "workers": settings.workers}
        restored = restore_settings(PrepareSettings, {**known, **own})
    found = written_down(restored)["files"]
    for before, now in zip(saved["files"], found):
        if before != now:
            raise ValueError(f"{now[0]} is not the file that {settings.out} began with: bring it back, or begin anew")
    if len(found) != len(saved["files"]):
        raise ValueError(f"{settings.data}: the files are not those that {settings.out} began with; begin anew")
    return restored


def find_sources(settings: PrepareSettings) -> list[Source]:
    """The files, those to measure on first: so of copies theirs stay. Raises: ValueError for none."""
    return [
        Source(path, name, part == "valid")
        for part in ("valid", "data")
        if (given := getattr(settings, part)) is not None
        for path, name in find_files(given)
    ]


def find_files(given: Path) -> list[tuple[Path, str]]:
    """The files that a path, a folder or a pattern means, and what the manifest calls them."""
    if given.is_dir():
        if (given / MANIFEST).exists():
            raise ValueError(f"{given} holds shards already: train on them, or name a folder of text")
        return [(path, str(path.relative_to(given))) for path in text_files(given)]
    found = [given] if given.exists() else [Path(name) for name in sorted(glob.glob(str(given), recursive=True))]
    if not found:
        raise ValueError(f"{given}: there is no such file; check the path")
    for path in found:
        block_form(path)
    return [(path, path.name) for path in found]


def prepare(settings: PrepareSettings, saved: dict) -> int:
    """Make the tokenizer, if it is not there, then the shards."""
    sources = find_sources(settings)
    sizes = [os.path.getsize(one.path) for one in sources]
    packed = [str(one.path).endswith((".gz", ".parquet")) for one in sources]
    text = sum(size * (PACKED if small else 1) for size, small in zip(sizes, packed))
    options = options_of(settings, text)
    begun = time.monotonic()
    if not (settings.out / TOKENIZER).exists():
        make_tokenizer(settings, options, sources, text).save(settings.out / TOKENIZER)
    made = {
        "minillm": __version__,
        "files": [{"name": one.name, "bytes": size, "valid": one.valid} for one, size in zip(sources, sizes)],
        "settings": {**vars(options), "tokenizer": settings.tokenizer if settings.from_ is None else "given by --from"},
    }
    sharding = Sharding(settings.out, sources, options, made)
    sharding.go_on()
    workers = settings.workers or processors()
    print(f"{len(sources):,} files, {sum(sizes) / 1e6:,.0f} MB, by {workers} processes, into {settings.out}")
    with tqdm(total=sum(sizes), unit="B", unit_scale=True, mininterval=0.5) as bar:

        def progress(place: int) -> None:
            if not bar.n:  # where a resumed run begins is no progress
                bar.initial = bar.n = place
            bar.update(max(place - bar.n, 0))

        manifest = sharding.run(workers, progress, saved)
    report(settings.out, manifest, time.monotonic() - begun)
    return 0


def options_of(settings: PrepareSettings, text: float) -> Options:
    """What decides what is in the shards. text: bytes, about."""
    share = settings.valid_fraction or min(VALID_BYTES / max(text, 1), VALID_MOST)
    names = ("documents", "clean", "dedup", "seed", "shard_tokens")
    return Options(valid_fraction=share, **{name: getattr(settings, name) for name in names})


def make_tokenizer(settings: PrepareSettings, options: Options, sources: list[Source], text: float) -> Tokenizer:
    """The tokenizer that --from or --tokenizer names, or one trained on a sample."""
    if settings.from_ is not None:
        return load_tokenizer(source(settings.from_))
    if settings.tokenizer == "characters":  # no sample has all of them
        return Tokenizer.characters(sample(sources, options, 1, 1))
    if settings.tokenizer != "bpe":
        given = settings.tokenizer
        return Tokenizer.load(given) if Path(given).suffix == ".json" else Tokenizer.from_tiktoken(given)
    size = min(settings.sample * 1e6, text)
    print(f"training a tokenizer of {settings.vocab_size:,} tokens on {size / 1e6:,.1f} MB of the text")
    begun = time.monotonic()
    learned = [one for one in sources if not one.valid]
    tokenizer = Tokenizer.train(sample(learned, options, size, text), settings.vocab_size)
    print(f"a tokenizer of {len(tokenizer):,} tokens, in {duration(time.monotonic() - begun)}")
    return tokenizer


def processors() -> int:
    """How many processor cores are ours."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report(out: Path, manifest: dict, seconds: float) -> None:
    """Say what came out."""
    parts, left_out = manifest["parts"], manifest["left_out"]
    for name, part in parts.items():
        each = part["characters"] / max(part["tokens"], 1)
        print(
            f"{name}: {part['documents']:,} documents, {part['tokens']:,} tokens of {each:.1f} characters, "
            f"in {len(part['shards'])} shards"
        )
    gone = ", ".join(f"{left_out[name]:,} {word}" for name, word in LEFT_OUT.items() if left_out[name])
    if gone:
        print("left out:", gone, *left_out["for_example"], sep="\n  ")
    print(f"{duration(seconds)}; train on them with: {program()} pretrain --data {out}")


LEFT_OUT = {"copies": "copies", "empty": "documents without text after cleaning", "wrong": "records that are none"}
