"""From GPT-2 to Llama one part at a time: between the rows `gpt2` and `llama` of `RECIPES` a row for each change.

Each rung has the parts of the one before and one more of Llama's. With equal width a gated MLP of 8/3 the width has as
many weights as a plain one of 4; rotary positions and RMSNorm save a few, and `llama` has a second table. One part is
no row: grouped queries are the setting `kv_heads` of any of them (Ainslie et al. 2023).
"""

from torch import nn

from minillm.models.recipes import RECIPES, GatedFeedForward

_GPT2 = RECIPES["gpt2"]
_NORM = _GPT2._replace(norm=nn.RMSNorm)
_ROTARY = _NORM._replace(rotary=True)
_GATED = _ROTARY._replace(feed_forward=GatedFeedForward, activation=nn.SiLU, expansion=8 / 3)

LADDER = {
    "gpt2-rmsnorm": _NORM,  # Zhang & Sennrich 2019
    "gpt2-rotary": _ROTARY,  # Su et al. 2021, in the place of learned positions
    "gpt2-gated": _GATED,  # SwiGLU: Shazeer 2020; without its biases it is llama-tied
}
RUNGS = ("gpt2", *LADDER, "llama-tied", "llama")  # in the order of the ladder
