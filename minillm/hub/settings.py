"""How config.json says what `Details` holds: scaled rotary positions, and which layer is of which kind.

Older files say of the rotary positions `rope_scaling` and `rope_theta`, newer ones `rope_parameters`, some of each
kind of layer. Both are read; the older form is written, which all versions of transformers read.
"""

from collections.abc import Callable

from minillm.models import Details, ModelConfig

TYPES = {"g": "full_attention", "l": "sliding_attention"}  # as layer_types calls the kinds of layers


def number(settings: dict, key: str, default=None, fraction: bool = False) -> int | float:
    """One setting; null is the default. A float where a fraction is allowed. Raises ValueError for anything else."""
    value = default if settings.get(key) is None else settings[key]
    if value is None:
        raise ValueError(f"{key} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float if fraction else int):
        raise ValueError(f"{key} is {value!r} where a number was expected")
    return float(value) if fraction else value


def flat_rope(theirs: dict, theta: str, share: str | None, local: str | None) -> tuple[dict, dict]:
    """The settings with what they say of rotary positions under these names, and the scaling, as fields of `Details`.

    Args:
        theta: what the base is called; share: the share of rotated channels; None where all are
        local: the base of local layers; None in a family that has but one
    Raises: ValueError for what we do not have.
    """
    rope = theirs.get("rope_scaling") or theirs.get("rope_parameters") or {}
    near = rope.get(TYPES["l"]) or {}
    rope = rope.get(TYPES["g"]) or {} if TYPES["g"] in rope or near else rope
    if near and (local is None or near.get("rope_type", "default") != "default"):
        raise ValueError(f"rope_parameters are {near} in local layers, which is not supported")
    part = rope.get("partial_rotary_factor", theirs.get("partial_rotary_factor"))
    if share is None and part not in (None, 1):
        raise ValueError(f"partial_rotary_factor is {part!r}, and only 1 is supported")
    found = {theta: rope.get("rope_theta"), share: part, local: near.get("rope_theta")}
    theirs = {**theirs, **{key: value for key, value in found.items() if value is not None}}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "linear", "llama3"):
        raise ValueError(f"rope_type is {kind!r}, and only default, linear and llama3 are supported")
    if kind == "default":
        return theirs, {}
    scaling = {"rope_factor": number(rope, "factor", fraction=True)}
    if kind == "llama3":
        scaling |= {
            "rope_low": number(rope, "low_freq_factor", fraction=True),
            "rope_high": number(rope, "high_freq_factor", fraction=True),
            "rope_original": number(rope, "original_max_position_embeddings", theirs.get("max_position_embeddings")),
        }
    return theirs, scaling


def rope_scaling(details: Details) -> dict:
    """What config.json says of scaled rotary positions; nothing of others."""
    if details.rope_original:
        return {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": details.rope_factor,
                "low_freq_factor": details.rope_low,
                "high_freq_factor": details.rope_high,
                "original_max_position_embeddings": details.rope_original,
            }
        }
    return {"rope_scaling": {"rope_type": "linear", "factor": details.rope_factor}} if details.rope_factor != 1 else {}


class Layers:
    """How a family says which layer is of which kind: here, all layers are the same, and see everything."""

    fields: tuple[str, ...] = ()  # of Details, that it knows

    def read(self, theirs: dict) -> dict:
        """Settings -> fields of `Details`."""
        return {}

    def write(self, config: ModelConfig) -> dict:
        """A config -> settings."""
        return {}


class AllWindowed(Layers):
    """Every layer sees a window, if there is one (Mistral)."""

    fields = ("pattern", "window")

    def read(self, theirs: dict) -> dict:
        window = _window(theirs, 4096)
        return {"pattern": "l", "window": window} if window else {}

    def write(self, config: ModelConfig) -> dict:
        kinds = {config.details.kind(layer) for layer in range(config.layers)}
        if kinds not in ({"g"}, {"l"}):
            raise ValueError(f"pattern is {config.details.pattern!r}, and all layers have to be alike")
        return {"sliding_window": config.details.window if kinds == {"l"} else None}


class SomeWindowed(Layers):
    """layer_types says which layers see a window; in older files a rule does (Gemma).

    Args:
        local: settings and index of a layer -> whether it sees a window, where layer_types is missing
        switch: the setting that says whether there are windows at all; "": there are
    """

    fields = ("pattern", "window")

    def __init__(self, local: Callable[[dict, int], bool], switch: str = ""):
        self.local, self.switch = local, switch

    def read(self, theirs: dict) -> dict:
        window = _window(theirs, 4096) if not self.switch or theirs.get(self.switch) else 0
        layers, types = number(theirs, "num_hidden_layers"), theirs.get("layer_types")
        if types is None:
            types = [TYPES["l" if self.local(theirs, layer) else "g"] for layer in range(layers)]
        letters = {name: letter for letter, name in TYPES.items()}
        if len(types) != layers or set(types) - set(letters):
            raise ValueError(f"layer_types is {types}: expected for {layers} layers {' or '.join(letters)}")
        pattern = _cycle("".join(letters[name] for name in types))
        return {"pattern": pattern, "window": window} if window and "l" in pattern else {}

    def write(self, config: ModelConfig) -> dict:
        kinds = [config.details.kind(layer) for layer in range(config.layers)]
        if "n" in kinds:
            raise ValueError(f"pattern is {config.details.pattern!r}, and no layer can be without rotary positions")
        window = config.details.window
        said = {"sliding_window": window or config.context, "layer_types": [TYPES[kind] for kind in kinds]}
        first = kinds.index("l") if "l" in kinds else len(kinds)
        return said | ({self.switch: bool(window), "max_window_layers": first} if self.switch else {})


class SomeUnturned(Layers):
    """no_rope_layers says with 0 which layers have no rotary positions (SmolLM3)."""

    fields = ("pattern",)

    def read(self, theirs: dict) -> dict:
        layers, turned = number(theirs, "num_hidden_layers"), theirs.get("no_rope_layers")
        if turned is None:
            every = number(theirs, "no_rope_layer_interval", 4)
            turned = [int((layer + 1) % every != 0) for layer in range(layers)]
        if len(turned) != layers or set(turned) - {0, 1}:
            raise ValueError(f"no_rope_layers is {turned}: expected 0 or 1 for each of {layers} layers")
        if set(theirs.get("layer_types") or ()) - {TYPES["g"]}:
            raise ValueError("layer_types is not full_attention everywhere, and only that is supported")
        return {"pattern": _cycle("".join("ng"[has] for has in turned))}

    def write(self, config: ModelConfig) -> dict:
        kinds = [config.details.kind(layer) for layer in range(config.layers)]
        if "l" in kinds:
            raise ValueError(f"pattern is {config.details.pattern!r}, and no layer can have a window")
        return {"no_rope_layers": [int(kind != "n") for kind in kinds]}


def _window(theirs: dict, default: int) -> int:
    """sliding_window: null is none, and a file without it has the default."""
    return number(theirs, "sliding_window", 0) if "sliding_window" in theirs else default


def _cycle(letters: str) -> str:
    """The shortest beginning that, repeated, gives these letters."""
    sizes = range(1, len(letters) + 1)
    return next((letters[:n] for n in sizes if letters == (letters[:n] * len(letters))[: len(letters)]), "g")
