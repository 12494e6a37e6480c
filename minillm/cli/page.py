"""`train.py page`: a run as one page of HTML, with the model in it, beside the world that its texts come from."""

import os
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from torch import nn

from minillm import tales
from minillm.cli.flags import auto, flag, group
from minillm.cli.page_data import judged_pairs, page_examples, start_of
from minillm.cli.settings import ChatTemplate, Machine
from minillm.data import frame_of
from minillm.hub import PRECISIONS, Foreign, load_labels, load_model, load_tokenizer, source, web_model, web_tokenizer
from minillm.report import live_page
from minillm.system import check_file, pick_device, write_text
from minillm.text import Tokenizer, chat_frames
from minillm.training import RunFolder, latest_run, stage_of

TASKS = {  # of heads: which view the page has
    "SequenceClassifier": "classes",
    "PooledClassifier": "classes",
    "PairClassifier": "classes",
    "TokenClassifier": "tags",
    "TextEncoder": "vectors",
    "RewardModel": "reward",
}
FIELDS = {"reward": ("The prompt", "The answer"), "vectors": ("Texts, one a line",)}
FP16_PARAMETERS, INT8_PARAMETERS = 12e6, 60e6  # up to so many, weights are stored in fp16, and in int8; else in int4
PAIRS = 20  # of letters to choose between
PAGE = b"<!doctype html>"
LARGE = 60e6  # bytes of a page that a browser takes its time over
LESSONS = ("01", "02", "04", "05", "11", "12", "21", "24")  # that panels lead to
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CONTINUES = ("pretrain", "bigram", "sft", "letters", "ppo", "dpo")  # stages of models that begin with the tales


@dataclass(frozen=True, kw_only=True)
class PageSettings:
    """What is shown."""

    from_: Path | None = flag(None, "the run, or a model that others made (default: the newest run of pretrain)")
    beside: Path | None = flag(None, "a second run with the same tokenizer, to be shown side by side: before and after")
    out: Path | None = flag(None, "the page (default: page.html in the folder of the run)")
    precision: str = flag(
        "auto", "of the weights; auto: fp16, of larger models int8 or int4", choices=("auto", *PRECISIONS)
    )
    pairs: int | None = auto("of a model of letters: pairs of letters to choose between; auto: 20", most=1000)
    reward: Path | None = flag(
        None, "a reward model to compare your choices with (default: the newest, if there is one)"
    )
    open: bool = flag(False, "open the page in the browser")
    chat: ChatTemplate = group(ChatTemplate)
    machine: Machine = group(Machine)


def run_page(settings: PageSettings, given: dict) -> int:
    """Turn a run into one HTML file that opens from disk: type, and see what the model sees.

    python train.py page                                              the newest run of pretrain, beside the exact world
    python train.py page --from runs/pretrain --beside runs/sft       before and after
    python train.py page --from runs/letters                          choose between letters: preferences of your own
    python train.py page --from runs/classify                         an encoder and its head
    python train.py page --from smollm2 --out smollm2.html            a model that others made, in int4

    The file holds the weights, the tokenizer and a forward pass in JavaScript, and asks for nothing else: no server, no
    network. Where the model learned from the tales, the exact probabilities of their world stand beside its own.
    """
    first = source(settings.from_ or latest_run("pretrain").path, settings.chat.template)
    runs = [first, *([source(settings.beside, settings.chat.template)] if settings.beside else [])]
    out = place_of(settings.out or (Path("page.html") if isinstance(first, Foreign) else first.path / "page.html"))
    tokenizers = [load_tokenizer(run) for run in runs]
    if len({tokenizer.fingerprint for tokenizer in tokenizers}) > 1:
        raise ValueError(
            f"{runs[1].path} has another tokenizer than {first.path}: their tokens cannot stand side by side"
        )
    parts, weights = [], bytearray()
    models = [load_model(run.path) for run in runs]
    tasks = [task_of(model) for model in models]
    if len(runs) > 1 and tasks != ["text", "text"]:
        raise ValueError("--beside takes two models that continue texts; leave it out for other models")
    for run, model in zip(runs, models):
        parts.append(run_part(run, model, settings.precision, weights))
    data = {"title": title_of(runs), "task": tasks[0], "runs": parts, "lessons": lessons(out)}
    data |= content(first, models[0], tokenizers[0], tasks[0], settings)
    data["about"] = about(runs, parts, data)
    write_text(out, live_page(data, bytes(weights)))
    size = out.stat().st_size
    print(f"{out}: {size / 1e6:.1f} MB, weights in {parts[0]['precision']}; open it in a browser")
    if size > LARGE:
        print(f"a page of {size / 1e6:.0f} MB takes seconds to open, and its model about a second for each token")
    if settings.open:
        webbrowser.open(out.resolve().as_uri())
    return 0


def place_of(out: Path) -> Path:
    """The same. Raises: ValueError where no page can be written, or another file would be lost."""
    check_file(out)
    if out.is_file() and not out.read_bytes()[: len(PAGE)].lower().startswith(PAGE):
        raise ValueError(f"--out {out}: there is a file that is no page already; name another")
    return out


def task_of(model: nn.Module) -> str:
    """Which view a model gets. Raises: ValueError for one that has none."""
    kind = next((type(part).__name__ for part in model.modules() if type(part).__name__ in TASKS), None)
    if kind is not None:
        return TASKS[kind]
    return "text" if getattr(model, "causal", True) else "mask"


def run_part(run: RunFolder, model: nn.Module, precision: str, weights: bytearray) -> dict:
    """What the page holds of a run; its weights go to the end of those that are there."""
    size = sum(p.numel() for p in model.parameters())
    if precision == "auto":
        precision = "fp16" if size <= FP16_PARAMETERS else "int8" if size <= INT8_PARAMETERS else "int4"
    web = web_model(model, precision)
    weights += b"\0" * (-len(weights) % 8)
    part = {"name": run.path.stem, "description": web.description, "entries": web.entries, "precision": precision}
    part |= {"offset": len(weights), "size": len(web.data)}
    weights += web.data
    return part


def content(run: RunFolder, model: nn.Module, tokenizer: Tokenizer, task: str, settings: PageSettings) -> dict:
    """What the page's views need beside the model."""
    own = isinstance(run, Foreign) or run.config()["settings"].get("data") is not None
    stage = "" if isinstance(run, Foreign) else stage_of(run)
    data: dict = {"tokenizer": web_tokenizer(tokenizer), "examples": page_examples(run, task, stage, own)}
    data["world"] = tales.grammar() if task == "text" and not own and stage in CONTINUES else None
    data["start"] = start_of(data["examples"], task, tokenizer, data["world"] is not None)
    data["chat"] = chat_frames(tokenizer) if task == "reward" or (task == "text" and run.answers) else None
    if data["chat"] is not None:
        data["chat"]["examples"] = [] if own else page_examples(run, "chat", stage, own)
    if task != "text":
        trunk = getattr(model, "trunk", model)
        frame = frame_of(trunk, tokenizer)
        data["frame"] = {"begin": frame.head, "between": frame.between, "end": frame.end, "segments": frame.segments}
        data["labels"] = load_labels(run) if task in ("classes", "tags") else []
        two = stage == "pair" or type(model).__name__ == "PairClassifier"
        data["fields"] = FIELDS.get(task) or (("The first text", "The second text") if two else ("The text",))
    of_letters = task == "text" and not own and stage in ("letters", "ppo", "dpo")
    if settings.pairs is not None and not of_letters:
        raise ValueError(f"--pairs has no use here: {run.path} is no model of letters about the tales; leave it out")
    if of_letters and settings.pairs != 0:
        compute = pick_device(settings.machine.device, settings.machine.dtype)
        data |= judged_pairs(
            run, model, tokenizer, settings.pairs or PAIRS, settings.reward, compute, settings.machine.seed
        )
    elif settings.reward is not None:
        raise ValueError("--reward has no use here: it judges letters that are chosen between; leave it out")
    return data


def title_of(runs: list[RunFolder]) -> str:
    """The heading of the page."""
    return " and ".join(run.path.resolve().stem for run in runs) + ", from inside"


def about(runs: list[RunFolder], parts: list[dict], data: dict) -> str:
    """One line on what the models are."""
    said = []
    for run, part in zip(runs, parts):
        config, kind = part["description"]["config"], part["description"]["kind"]
        shape = {"LSTMLM": "an LSTM", "BigramLM": "a bigram"}.get(kind, f"{kind.lower()} {config.get('recipe', '')}")
        if config.get("heads"):
            shape += f", {config['layers']} layers of {config['heads']} heads, {config['width']} channels"
        scores = run.metrics() if run.finished and not isinstance(run, Foreign) else {}
        loss, floor = scores.get("val_loss"), scores.get("floor")
        learned = f", validation loss {loss:.3f}" if isinstance(loss, float) else ""
        learned += f" (floor {floor:.3f})" if learned and isinstance(floor, float) else ""
        said.append(
            f"{part['name']}: {shape}, {part['description']['parameters']:,} parameters{learned}, {part['precision']}."
        )
    where = " All of it is in this file: nothing is sent anywhere."
    beside = " Beside it stand the exact probabilities of the world that wrote its texts." if data["world"] else ""
    return " ".join(said) + beside + where


def lessons(out: Path) -> dict[str, dict]:
    """The notebooks that panels lead to, as seen from the page; none where they are not there."""
    found = {}
    for number in LESSONS:
        for path in NOTEBOOKS.glob(f"{number}_*.ipynb"):
            try:
                place = Path(os.path.relpath(path.resolve(), out.resolve().parent)).as_posix()
            except ValueError:  # on another drive
                continue
            found[number] = {"href": quote(place), "name": f"lesson {number}"}
    return found
