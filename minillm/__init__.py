"""minillm: the whole life of a language model, from scratch, in pure PyTorch.

Importing the package does nothing but define its version: every room is imported by its own name
(``from minillm.models.transformer import Decoder``), so that reading an import tells where to read on.
"""

__version__ = "0.1.0"
