"""What a run folder holds, as a model and a tokenizer, ready to use.

config.json says which kind of model it is and how large (`describe`), so it can be built again (`rebuild`). A run that
trained an adapter holds the adapter alone: its model is that of another run, which must be there and unchanged.
"""

import os
from dataclasses import asdict

import torch
from torch import nn

from minillm.models import (
    LSTMLM,
    BigramLM,
    Decoder,
    Encoder,
    Head,
    LSTMConfig,
    ModelConfig,
    PairClassifier,
    RewardModel,
    SequenceClassifier,
    TextEncoder,
    TokenClassifier,
)
from minillm.peft import bare, load_adapter
from minillm.system import load_file
from minillm.text import Tokenizer
from minillm.training import RunFolder, load_weights, unwrap

BUILDERS = {
    Decoder: lambda **config: Decoder(ModelConfig(**config)),
    Encoder: lambda **config: Encoder(ModelConfig(**config)),
    LSTMLM: lambda **config: LSTMLM(LSTMConfig(**config)),
    BigramLM: BigramLM,
    **{head: head for head in (SequenceClassifier, PairClassifier, TokenClassifier, TextEncoder, RewardModel)},
}


KINDS = {cls.__name__: cls for cls in BUILDERS}


def describe(model: nn.Module) -> dict:
    """What config.json says of a model, enough to build it again; of a head, with the trunk that it stands on."""
    model = bare(unwrap(model))
    kind = {"kind": type(model).__name__}
    if isinstance(model, TextEncoder):
        return {**kind, "pooling": model.pooling, "trunk": describe(model.trunk)}
    if isinstance(model, Head):
        return {**kind, "outputs": model.outputs, "pooling": model.pooling, "trunk": describe(model.trunk)}
    return {**kind, **asdict(model.config)}


def rebuild(description: dict) -> nn.Module:
    """An untrained model from what `describe` said of one. Raises KeyError or TypeError when it said something else."""
    settings = dict(description)
    if "trunk" in settings:
        settings["trunk"] = rebuild(settings["trunk"])
    return BUILDERS[KINDS[settings.pop("kind")]](**settings)


def load_model(run: str | os.PathLike, device: str | torch.device = "cpu") -> nn.Module:
    """The best model of a run folder, in evaluation mode; with the adapter on it, where the run trained one.

    Raises ValueError for a folder that is no whole run, and for an adapter whose base is gone or was trained anew.
    """
    folder = RunFolder(run)
    config = folder.config()
    try:
        model = rebuild(config["model"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder.path / 'config.json'}: does not describe a model ({error})") from None
    if config.get("base"):
        model = load_adapter(on_base(folder, model, config["base"]), folder.path, config["base"]["adapter"])
    else:
        load_weights(model, load_file(folder.best_file())[0], folder.model_file)
    return model.to(device).eval()


def base_of(run: RunFolder, folder: RunFolder, adapter: str) -> dict:
    """What config.json says of the run that an adapter stands on: its place as seen from `folder`, its weights."""
    place = os.path.relpath(run.path.resolve(), folder.path.resolve())
    return {"run": place, "weights": run.fingerprint(), "adapter": adapter}


def on_base(folder: RunFolder, model: nn.Module, base: dict) -> nn.Module:
    """The model that an adapter was trained on: that of another run, or a head on its trunk."""
    run = RunFolder(os.path.normpath(folder.path.resolve() / base["run"]))
    if not run.started:
        raise ValueError(f"{folder.path} holds an adapter for the model of {run.path}, which is gone: bring it back")
    if run.fingerprint() != base["weights"]:
        raise ValueError(
            f"{folder.path} holds an adapter for the model that was in {run.path}, which has been trained anew since: "
            "train the adapter anew, too"
        )
    trained = load_model(run.path)
    trained = getattr(trained, "trunk", trained)
    if not hasattr(model, "trunk"):
        return trained
    model.trunk = trained
    return model


# What models are for that do not write
PURPOSES = {
    "SequenceClassifier": "sorts texts into classes",
    "PairClassifier": "judges pairs of texts",
    "TokenClassifier": "tags words",
    "TextEncoder": "turns texts into vectors",
    "RewardModel": "says how good an answer is",
    "Encoder": "reads both ways",
}


def model_kind(model: nn.Module) -> str:
    """For people: "an Encoder", "a RewardModel"."""
    name = type(bare(model)).__name__
    return f"{'an' if name[0] in 'AEIOU' or name == LSTMLM.__name__ else 'a'} {name}"


def load_causal(run: RunFolder, device: str | torch.device = "cpu") -> nn.Module:
    """The model of a run that reads from left to right, and so can continue a text and say how likely it is."""
    model = load_model(run.path, device)
    if hasattr(model, "trunk") or not getattr(model, "causal", True):
        raise ValueError(
            f"{run.path} holds {model_kind(model)}, which {PURPOSES[type(bare(model)).__name__]} and writes none: "
            "this needs a run of pretrain or sft"
        )
    return model


def load_tokenizer(run: RunFolder) -> Tokenizer:
    """The tokenizer of a run. Raises ValueError when it is not the one that the model was trained with."""
    expected = run.config().get("tokenizer")
    tokenizer = Tokenizer.load(run.path / "tokenizer.json")
    if tokenizer.fingerprint != expected:
        raise ValueError(
            f"{run.path / 'tokenizer.json'} is not the tokenizer that this model was trained with "
            f"(fingerprint {tokenizer.fingerprint[:12]}, expected {str(expected)[:12]}); put the right file back"
        )
    return tokenizer
