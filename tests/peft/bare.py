"""Small models of ours without zeros, as adapters find them."""

import torch

from minillm.models import Decoder, ModelConfig

V = 30
IDS = torch.randint(V, (2, 9), generator=torch.Generator().manual_seed(0))


def stir(parameters, std=0.3, seed=0):
    """Move parameters from where they began."""
    generator = torch.Generator().manual_seed(seed)
    for p in parameters:
        p.data += std * torch.randn(p.shape, generator=generator).to(p.dtype)


def bare_model(recipe="minillm", kind=Decoder, **changes):
    """A model whose biases are on where the recipe has some, and whose heads share keys."""
    torch.manual_seed(0)
    size = {"context": 40, "layers": 2, "width": 16, "heads": 4, "kv_heads": 2} | changes
    model = kind(ModelConfig(V, recipe=recipe, **size)).eval()
    stir(model.parameters())
    return model
