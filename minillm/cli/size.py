"""The size of a model that goes on from a run: that of the run."""

from pathlib import Path
from typing import Any

from torch import nn

from minillm.cli.flags import change, names_of, refuse
from minillm.cli.life import check_context
from minillm.hub import Foreign
from minillm.training import RunFolder, describe

LONGEST = 1024  # tokens that a model of others is given at once, where nobody says


def check_size_flags(source: Path | None, given: dict, size: type) -> None:
    """Raises: ValueError for a flag of size, or of the tokenizer, where a run goes on that has its own.

    --context may be shorter than the model's. Args: size: the group of flags.
    """
    if source is not None:
        names = {"tokenizer", "vocab_size", *names_of(size)} - {"context"}
        refuse(given, sorted(names), f"the model and the tokenizer are those of {source}")


def with_size_of(settings: Any, model: nn.Module, source: RunFolder) -> Any:
    """The settings with the size of the model that a run goes on from; --context, where it is given, is kept.

    Raises: ValueError for a --context that is longer than what that model reads.
    """
    check_context(settings.size.context, model, source)
    own = describe(model)
    known = {name: own[name] for name in ("heads", "width", "recipe", "dropout", "context") if name in own}
    known |= {"depth": own["layers"]} if "layers" in own else {}
    if settings.size.context:
        known["context"] = settings.size.context
    elif isinstance(source, Foreign):  # a context of theirs may be longer than this machine's memory
        known["context"] = min(known["context"], LONGEST)
    return change(settings, **known)
