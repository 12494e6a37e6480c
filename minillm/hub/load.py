"""A model and its tokenizer from where they are, ready to use: `load`, or its parts `load_model`, `load_tokenizer`.

That is a run folder of ours, or what others made (`pretrained`). Of a run, config.json says which kind of model it is
and how large (`describe`), so it can be built again (`rebuild`). A run that trained an adapter holds the adapter alone:
its model is that of another run or of others, its base, which must be there and unchanged (`base_of`).
"""

import math
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm import models
from minillm.hub.pretrained import foreign_fingerprint, foreign_labels, foreign_tokenizer, is_foreign, load_foreign
from minillm.hub.weights import as_dtype, check_size
from minillm.peft import bare, load_adapter
from minillm.system import map_file, reading
from minillm.text import Tokenizer
from minillm.training import RunFolder, load_weights

Run = RunFolder | str | os.PathLike
Dtype = torch.dtype | str | None

PURPOSES = {  # of the models that generate no text
    "SequenceClassifier": "sorts texts into classes",
    "PooledClassifier": "sorts texts into classes",
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
    "ConvolutionLM": lambda **config: models.ConvolutionLM(models.ConvolutionConfig(**config)),
    "LSTMLM": lambda **config: models.LSTMLM(models.LSTMConfig(**config)),
}


def load(
    path: str | os.PathLike, device: str | torch.device = "cpu", dtype: Dtype = None
) -> tuple[nn.Module, Tokenizer]:
    """A model, in evaluation mode, and its tokenizer; ValueError where it is not whole.

    Args:
        path: a run folder, a folder in Hugging Face's format, or a GGUF file
        dtype: of the weights, such as "bf16"; None: fp32
    """
    return load_model(path, device, dtype), load_tokenizer(path)


def load_model(run: Run, device: str | torch.device = "cpu", dtype: Dtype = None) -> nn.Module:
    """The model of a path as of `load`, in evaluation mode: of a run the best, with the adapter that it trained.

    Raises: ValueError for what is no whole model, and for an adapter whose base is gone or was trained anew.
    """
    folder = _folder(run)
    if is_foreign(folder.path):
        model = load_foreign(folder.path, dtype)
        check_finite(model, folder.path)
    else:
        model = _whole_model(folder, (), dtype)
    return model.to(device).eval()


def _whole_model(folder: RunFolder, above: tuple[Path, ...], dtype: Dtype) -> nn.Module:
    """The model of a run. above: the runs whose adapters stand on it."""
    config, place = folder.config(), folder.path / "config.json"
    about = f"{place}: does not describe a model"
    if folder.path.resolve() in above:
        raise ValueError(f'{place}: "base" leads back to {folder.path}: an adapter cannot stand on itself')
    if config.get("base"):
        trained = _base_model(folder, config["base"], (*above, folder.path.resolve()), dtype)
        with reading(about):
            model = _on(trained, config["model"], map_file(folder.best_file()).tensors)
        model = load_adapter(model, folder.path, config["base"]["adapter"])
    else:
        tensors, _, file = map_file(folder.best_file())
        with reading(about):
            check_size(config["model"], tensors)
            model = rebuild(config["model"])
        load_weights(model, tensors, folder.model_file, file.release)
        for parameter in model.parameters() if dtype else ():
            parameter.data = parameter.data.to(as_dtype(dtype))
    check_finite(model, folder.best_file())
    return model


def load_causal(run: Run, device: str | torch.device = "cpu", dtype: Dtype = None) -> nn.Module:
    """The model of a path that reads from left to right, and so can continue a text and say how likely it is.

    Raises: ValueError for another kind of model, and as `load_model`.
    """
    folder, model = _folder(run), load_model(run, device, dtype)
    if hasattr(model, "trunk") or not getattr(model, "causal", True):
        raise ValueError(
            f"{folder.path} holds {model_kind(model)}, which {PURPOSES[type(bare(model)).__name__]} and writes none: "
            "this needs a run of pretrain or sft"
        )
    return model


def load_tokenizer(run: Run) -> Tokenizer:
    """The tokenizer of a run or of a foreign model; ValueError when it is not the one that a run was trained with."""
    folder = _folder(run)
    tokenizer = foreign_tokenizer(folder.path) if is_foreign(folder.path) else _own_tokenizer(folder)
    if folder.template is not None:
        tokenizer.use_template(folder.template)
    return tokenizer


def _own_tokenizer(folder: RunFolder) -> Tokenizer:
    expected = folder.config().get("tokenizer")
    tokenizer = Tokenizer.load(folder.path / "tokenizer.json")
    if tokenizer.fingerprint != expected:
        raise ValueError(
            f"{folder.path / 'tokenizer.json'} is not the tokenizer that this model was trained with "
            f"(fingerprint {tokenizer.fingerprint[:12]}, expected {str(expected)[:12]}); put the right file back"
        )
    return tokenizer


def load_labels(run: Run) -> list[str]:
    """The names of the classes of a model; none of a model without classes. Raises ValueError as `RunFolder.labels`."""
    folder = _folder(run)
    return foreign_labels(folder.path) if is_foreign(folder.path) else folder.labels()


def rebuild(description: dict) -> nn.Module:
    """An untrained model from what `describe` said of one; KeyError or TypeError when it said something else."""
    settings = dict(description)
    if "trunk" in settings:
        settings["trunk"] = rebuild(settings["trunk"])
    return BUILDERS[settings.pop("kind")](**settings)


def check_finite(model: nn.Module, file: Path) -> None:
    """Raises: ValueError for weights that are no numbers: whoever trained them had diverged."""
    for name, parameter in model.named_parameters():
        if parameter.numel() and not all(math.isfinite(end) for end in parameter.detach().aminmax()):
            raise ValueError(f"{file}: {name} holds numbers that are not finite, as of a run that diverged: train anew")


def base_of(run: RunFolder, folder: RunFolder, adapter: str) -> dict:
    """What config.json says of the model that an adapter stands on: its place as seen from `folder`, its weights."""
    place = os.path.relpath(run.path.resolve(), folder.path.resolve())
    return {"run": place, "weights": _fingerprint(run), "adapter": adapter}


def _fingerprint(run: RunFolder) -> str:
    return foreign_fingerprint(run.path) if is_foreign(run.path) else run.fingerprint()


def _base_model(folder: RunFolder, base: dict, above: tuple[Path, ...], dtype: Dtype) -> nn.Module:
    """The trunk that the adapter of `folder` was trained on, or the whole model: that of another run, or foreign."""
    with reading(folder.path / "config.json"):
        run = RunFolder(os.path.normpath(folder.path.resolve() / base["run"]))
        there = run.started or run.path.is_file()
    if not there:
        raise ValueError(f"{folder.path} holds an adapter for the model of {run.path}, which is gone: bring it back")
    if _fingerprint(run) != base["weights"]:
        raise ValueError(
            f"{folder.path} holds an adapter for the model that was in {run.path}, which has been trained anew since: "
            "train the adapter anew, too"
        )
    trained = load_foreign(run.path, dtype) if is_foreign(run.path) else _whole_model(run, above, dtype)
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
