"""A run folder as a model and a tokenizer, ready to use: `load`, or `load_model`, `load_causal`, `load_tokenizer`.

config.json says which kind of model it is and how large (`describe`), so it can be built again (`rebuild`). A run that
trained an adapter holds the adapter alone: its model is that of another run, its base, which must be there and
unchanged (`base_of`).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm import models
from minillm.peft import bare, load_adapter
from minillm.system import load_file, reading
from minillm.text import Tokenizer
from minillm.training import RunFolder, load_weights

Run = RunFolder | str | os.PathLike

PURPOSES = {  # of the models that generate no text
    "SequenceClassifier": "sorts texts into classes",
    "PairClassifier": "judges pairs of texts",
    "TokenClassifier": "tags words",
    "TextEncoder": "turns texts into vectors",
    "RewardModel": "says how good an answer is",
    "Encoder": "reads both ways",
}
BUILDERS = {
    **{name: getattr(models, name) for name in ("BigramLM", *PURPOSES)},
    "Decoder": lambda **config: models.Decoder(models.ModelConfig(**config)),
    "Encoder": lambda **config: models.Encoder(models.ModelConfig(**config)),
    "LSTMLM": lambda **config: models.LSTMLM(models.LSTMConfig(**config)),
}


def load(path: str | os.PathLike, device: str | torch.device = "cpu") -> tuple[nn.Module, Tokenizer]:
    """The model of a run folder, in evaluation mode, and its tokenizer; ValueError where it is not whole."""
    return load_model(path, device), load_tokenizer(path)


def load_model(run: Run, device: str | torch.device = "cpu") -> nn.Module:
    """The best model of a run, in evaluation mode; with the adapter on it, where the run trained one.

    Raises: ValueError for a folder that is no whole run, and for an adapter whose base is gone or was trained anew.
    """
    return _whole_model(_folder(run), ()).to(device).eval()


def _whole_model(folder: RunFolder, above: tuple[Path, ...]) -> nn.Module:
    """The model of a run. above: the runs whose adapters stand on it."""
    config, place = folder.config(), folder.path / "config.json"
    about = f"{place}: does not describe a model"
    if folder.path.resolve() in above:
        raise ValueError(f'{place}: "base" leads back to {folder.path}: an adapter cannot stand on itself')
    if config.get("base"):
        trained = _base_model(folder, config["base"], (*above, folder.path.resolve()))
        with reading(about):
            model = _on(trained, config["model"], load_file(folder.best_file())[0])
        model = load_adapter(model, folder.path, config["base"]["adapter"])
    else:
        tensors, _ = load_file(folder.best_file())
        with reading(about):
            check_size(config["model"], tensors)
            model = rebuild(config["model"])
        load_weights(model, tensors, folder.model_file)
    check_finite(model, folder.best_file())
    return model


def load_causal(run: Run, device: str | torch.device = "cpu") -> nn.Module:
    """The model of a run that reads from left to right, and so can continue a text and say how likely it is.

    Raises: ValueError for another kind of model, and as `load_model`.
    """
    folder, model = _folder(run), load_model(run, device)
    if hasattr(model, "trunk") or not getattr(model, "causal", True):
        raise ValueError(
            f"{folder.path} holds {model_kind(model)}, which {PURPOSES[type(bare(model)).__name__]} and writes none: "
            "this needs a run of pretrain or sft"
        )
    return model


def load_tokenizer(run: Run) -> Tokenizer:
    """The tokenizer of a run; ValueError when it is not the one that the model was trained with."""
    folder = _folder(run)
    expected = folder.config().get("tokenizer")
    tokenizer = Tokenizer.load(folder.path / "tokenizer.json")
    if tokenizer.fingerprint != expected:
        raise ValueError(
            f"{folder.path / 'tokenizer.json'} is not the tokenizer that this model was trained with "
            f"(fingerprint {tokenizer.fingerprint[:12]}, expected {str(expected)[:12]}); put the right file back"
        )
    return tokenizer


def rebuild(description: dict) -> nn.Module:
    """An untrained model from what `describe` said of one; KeyError or TypeError when it said something else."""
    settings = dict(description)
    if "trunk" in settings:
        settings["trunk"] = rebuild(settings["trunk"])
    return BUILDERS[settings.pop("kind")](**settings)


def check_size(description: dict, tensors: dict[str, Tensor]) -> None:
    """Raises: ValueError for a size that these weights cannot fill, before a model of it is built."""
    largest = max([len(tensors), *(size for tensor in tensors.values() for size in tensor.shape)])
    for name, value in _sizes(description):
        if isinstance(value, int) and value > largest:
            raise ValueError(f'"{name}" is {value}, which does not fit the weights beside it')


def _sizes(description: dict) -> Iterator[tuple[str, object]]:
    for name, value in description.items():
        if isinstance(value, dict):
            yield from _sizes(value)
        elif name not in ("context", "window", "rope_original", "query_scale"):  # no weight is so long
            yield name, value


def check_finite(model: nn.Module, file: Path) -> None:
    """Raises: ValueError for weights that are no numbers: whoever trained them had diverged."""
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise ValueError(f"{file}: {name} holds numbers that are not finite, as of a run that diverged: train anew")


def base_of(run: RunFolder, folder: RunFolder, adapter: str) -> dict:
    """What config.json says of the run that an adapter stands on: its place as seen from `folder`, its weights."""
    place = os.path.relpath(run.path.resolve(), folder.path.resolve())
    return {"run": place, "weights": run.fingerprint(), "adapter": adapter}


def _base_model(folder: RunFolder, base: dict, above: tuple[Path, ...]) -> nn.Module:
    """The trunk that the adapter of `folder` was trained on, or the whole model: that of another run."""
    with reading(folder.path / "config.json"):
        run = RunFolder(os.path.normpath(folder.path.resolve() / base["run"]))
        started = run.started
    if not started:
        raise ValueError(f"{folder.path} holds an adapter for the model of {run.path}, which is gone: bring it back")
    if run.fingerprint() != base["weights"]:
        raise ValueError(
            f"{folder.path} holds an adapter for the model that was in {run.path}, which has been trained anew since: "
            "train the adapter anew, too"
        )
    trained = _whole_model(run, above)
    return getattr(trained, "trunk", trained)


def _on(trunk: nn.Module, description: dict, tensors: dict[str, Tensor]) -> nn.Module:
    """A trunk under the head of a description; the trunk alone where there is none. tensors: those of the head too."""
    if "trunk" not in description:
        return trunk
    settings = {name: value for name, value in description.items() if name not in ("kind", "trunk")}
    check_size(settings, tensors)
    return BUILDERS[description["kind"]](trunk, **settings)


def model_kind(model: nn.Module) -> str:
    """For people: "an Encoder", "a RewardModel"."""
    name = type(bare(model)).__name__
    return f"{'an' if name[0] in 'AEIOU' or name == 'LSTMLM' else 'a'} {name}"


def _folder(run: Run) -> RunFolder:
    return run if isinstance(run, RunFolder) else RunFolder(run)
