"""The parts of a model, computed here and, as a reference, on the CPU in double precision: do they agree?

A part is a function that draws its inputs, the same numbers everywhere, and returns what it computed: outputs and
gradients. What differs by more than rounding is a kernel, a driver or a compiler that computes something else.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minillm import models, peft, training
from minillm.models import Decoder, ModelConfig
from minillm.system import Compiled, Compute

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}  # of a difference, over the size
TF32 = 5e-3  # on a GPU, where products of fp32 are rounded to ten bits
B, T, C, H, V = 2, 48, 64, 2, 96


class Place:
    """Where a part is computed: on a device in its precision, or exactly; compiled, if that is asked for."""

    def __init__(self, compute: Compute, exact: bool = False, compiled: bool = False):
        self.compute, self.compiled = compute, compiled
        self.dtype = torch.float64 if exact else torch.float32
        self.autocast = nullcontext if exact else compute.autocast
        self.generator = torch.Generator().manual_seed(0)

    def draw(self, *shape: int, learns: bool = True) -> Tensor:
        """Random numbers, the same in every place."""
        made = torch.randn(shape, generator=self.generator).to(self.compute.device, self.dtype)
        return made.requires_grad_(learns)

    def ids(self, *shape: int, most: int = V) -> Tensor:
        """Random whole numbers, the same in every place."""
        return torch.randint(most, shape, generator=self.generator).to(self.compute.device)

    def module(self, make: Callable[[], nn.Module]) -> nn.Module:
        """A module whose weights are the same in every place; none of them is zero."""
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            made = make()
            for parameter in made.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
        return made.to(self.compute.device, self.dtype)

    def run(self, function: Callable, *inputs: Tensor) -> list[Tensor]:
        """What a function returns, and the gradients of all that learns in it."""
        learns = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
        learns += [p for p in getattr(function, "parameters", list)() if p.requires_grad]
        called = Compiled(function) if self.compiled else function
        with self.autocast():
            found = called(*inputs)
        found = [one for one in (found if isinstance(found, tuple) else (found,)) if isinstance(one, Tensor)]
        total = sum((one * self.draw(*one.shape, learns=False)).sum() for one in found if one.requires_grad)
        gradients = torch.autograd.grad(total, learns, allow_unused=True) if learns else ()
        return [*found, *(g for g in gradients if g is not None)]


def attention(at: Place) -> list[Tensor]:
    """Causal, and with padding."""
    q, k, v = (at.draw(B, H, T, C // H) for _ in range(3))
    mask = torch.ones(B, 1, T, T, dtype=torch.bool, device=q.device).tril()
    mask[0, :, :, :5] = False
    mask |= torch.eye(T, dtype=torch.bool, device=q.device)
    causal = at.run(lambda q, k, v: models.attend(q, k, v, None, True), q, k, v)
    return causal + at.run(lambda q, k, v: models.attend(q, k, v, mask, True), q, k, v)


def norms(at: Place) -> list[Tensor]:
    """Without weights, LayerNorm, RMSNorm."""
    x, kinds = at.draw(B, T, C), (models.PlainNorm, nn.LayerNorm, nn.RMSNorm)
    return [one for kind in kinds for one in at.run(at.module(lambda kind=kind: kind(C, eps=1e-5)), x)]


def mlp(at: Place) -> list[Tensor]:
    """Plain and gated feed-forward layers."""
    plain = at.module(lambda: models.FeedForward(C, 2 * C, models.ReLUSquared(), False))
    gated = at.module(lambda: models.GatedFeedForward(C, 2 * C, nn.SiLU(), True))
    x = at.draw(B, T, C)
    return at.run(plain, x) + at.run(gated, x)


def rotary(at: Place) -> list[Tensor]:
    """Rotation of pairs of channels."""
    x = at.draw(B, H, T, C // H)
    cos, sin = (table.to(x.device, x.dtype) for table in models.rotary_tables(T, C // H))
    return at.run(lambda x: models.rotate(x, cos, sin), x)


def embedding(at: Place) -> list[Tensor]:
    """A table, whose gradient adds up over the places of a token."""
    return at.run(at.module(lambda: nn.Embedding(V, C)), at.ids(B, T))


def language_losses(at: Place) -> list[Tensor]:
    """Next and hidden tokens; vectors of pairs."""
    logits, labels = at.draw(B, T, V), at.ids(B, T)
    next_token = at.run(lambda x: training.causal_lm_loss(x, labels), logits)
    hidden = at.run(lambda x: training.masked_lm_loss(x, labels), logits)
    return next_token + hidden + at.run(training.info_nce, at.draw(8, C), at.draw(8, C))


def preference_losses(at: Place) -> list[Tensor]:
    """Reward models, DPO and its relatives."""
    four = [at.draw(8) for _ in range(4)]
    found = at.run(training.preference_loss, *four[:2]) + at.run(training.dpo_loss, *four, 0.1)
    return found + at.run(lambda *x: training.ipo_loss(*x, 0.1), *four)


def policy_losses(at: Place) -> list[Tensor]:
    """PPO's, of policy and value."""
    new, old, gains = at.draw(B, T), at.draw(B, T, learns=False), at.draw(B, T, learns=False)
    mask = torch.ones_like(old)
    policy = at.run(lambda x: training.ppo_policy_loss(x, old, gains, mask, 0.2), new)
    return policy + at.run(lambda x: training.ppo_value_loss(x, old, gains, mask, 0.2), new)


def muon(at: Place) -> list[Tensor]:
    """Newton-Schulz: matrices with the same singular vectors, and singular values near 1."""
    matrices = at.draw(3, C, 2 * C, learns=False)
    dtype = at.compute.dtype if at.dtype == torch.float32 and at.compute.dtype == torch.bfloat16 else at.dtype
    return [training.orthogonalise(matrices.to(dtype)).to(at.dtype)]


def adamw(at: Place) -> list[Tensor]:
    """A step of the fused optimizer."""
    layer = at.module(lambda: nn.Linear(C, C))
    optimizer = training.build_optimizer(layer, "adamw", 1e-2)
    layer(at.draw(B, C, learns=False)).square().mean().backward()
    optimizer.step()
    return [p.detach() for p in layer.parameters()]


def _decoder(recipe: str = "minillm") -> Decoder:
    return Decoder(ModelConfig(V, T, 2, C, H, recipe=recipe))


def transformer(at: Place) -> list[Tensor]:
    """Whole decoders: ours, and GPT-2's parts."""
    ids = at.ids(B, T)
    return [one for recipe in ("minillm", "gpt2") for one in at.run(at.module(lambda r=recipe: _decoder(r)), ids)]


def lora(at: Place) -> list[Tensor]:
    """A low-rank change of every matrix of a frozen decoder."""

    def make() -> nn.Module:
        adapted = peft.inject(_decoder(), peft.LoRA(rank=4), generator=torch.Generator().manual_seed(0))
        peft.freeze(adapted)
        return adapted

    return at.run(at.module(make), at.ids(B, T))


def cached(at: Place) -> list[Tensor]:
    """The logits of a text that is read token by token, with a key/value cache."""
    model, ids = at.module(_decoder).eval(), at.ids(B, 12)
    with torch.no_grad(), at.autocast():
        cache = model.new_cache(B, 12)
        return [model(ids[:, t : t + 1], cache=cache) for t in range(12)]


PARTS: dict[str, Callable[[Place], list[Tensor]]] = {
    "attention": attention,
    "norms": norms,
    "MLP": mlp,
    "rotary positions": rotary,
    "embedding": embedding,
    "losses of language models": language_losses,
    "losses of preferences": preference_losses,
    "losses of PPO": policy_losses,
    "Muon's Newton-Schulz": muon,
    "AdamW": adamw,
    "transformer": transformer,
    "LoRA": lora,
    "generation with a cache": cached,
}
LOOSE = {"Muon's Newton-Schulz": 4, "LoRA": 2, "transformer": 2, "generation with a cache": 2}  # roundings that add up


class Check(NamedTuple):
    """What a part differs by from the reference, and what it may."""

    name: str
    error: float  # the largest difference of an output or gradient, over its size
    tolerance: float
    failure: str = ""  # where it could not be computed at all

    @property
    def good(self) -> bool:
        """Whether it is right."""
        return not self.failure and self.error <= self.tolerance


def check_part(name: str, compute: Compute, compiled: bool = False) -> Check:
    """A part here, beside the same in double precision on the CPU."""
    tolerance = TOLERANCES[compute.dtype] * LOOSE.get(name, 1)
    if compute.device.type == "cuda":
        tolerance = max(tolerance, TF32 * LOOSE.get(name, 1))
    expected = PARTS[name](Place(Compute(torch.device("cpu"), torch.float32), exact=True))
    try:
        found = [x.cpu().double() for x in PARTS[name](Place(compute, compiled=compiled))]
    except (RuntimeError, NotImplementedError) as error:
        return Check(name, float("inf"), tolerance, str(error).splitlines()[0] if str(error) else repr(error))
    return Check(name, largest_difference(found, expected), tolerance)


def largest_difference(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The largest of the differences of tensors, each over the size of the expected one; inf where one is no number.

    A tensor that should be nearly zero, as the gradient of the bias of keys is, counts as a thousandth of the largest.

    >>> largest_difference([torch.tensor([3.0, 4.5])], [torch.tensor([3.0, 4.0])])
    0.1
    """
    pairs = [(one.detach(), other.detach()) for one, other in zip(found, expected, strict=True)]
    least = max(float(other.norm()) for _, other in pairs) / 1000
    errors = [float((one - other).norm()) / max(float(other.norm()), least) for one, other in pairs]
    return max(error if error == error else float("inf") for error in errors)
