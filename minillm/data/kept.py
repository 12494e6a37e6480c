"""Token ids that are worked out once: a file keeps them, with a checksum of the text and of the tokenizer."""

import hashlib
import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minillm.data.batches import Tokens, tokenize
from minillm.data.examples import corpus_frame
from minillm.system import load_file, save_file
from minillm.text import Tokenizer

KINDS = {"ids": torch.int32, "starts": torch.int64}  # of what a file holds


def tokenize_once(
    documents: Sequence[str], tokenizer: Tokenizer, file: str | os.PathLike | None, whole: bool = False
) -> Tokens:
    """`tokenize`, but where `file` holds the tokens of this text they are read from there; else they are put there."""

    def work_out() -> dict[str, Tensor]:
        tokens = tokenize(documents, tokenizer, whole)
        return {"ids": tokens.ids} if whole else {"ids": tokens.ids, "starts": tokens.starts}

    names = ("ids",) if whole else ("ids", "starts")
    tensors = _kept(file, _checksum(documents, tokenizer, str(whole)), names, work_out)
    begin, end = ([], []) if whole else corpus_frame(tokenizer)  # nothing announces <|bos|>, unless it ends a text too
    return Tokens(tensors["ids"], tensors.get("starts"), begin[0] if begin and end else None)


def _kept(
    file: str | os.PathLike | None, checksum: str, names: Sequence[str], work_out: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    if file is None:
        return work_out()
    try:
        tensors, metadata = load_file(file)
    except ValueError:  # not there, or damaged
        tensors, metadata = {}, {}
    found = {name: (tensor.dim(), tensor.dtype) for name, tensor in tensors.items()}
    if metadata.get("of") != checksum or found != {name: (1, KINDS[name]) for name in names}:
        tensors = work_out()
        save_file(tensors, file, {"of": checksum})
    return tensors


def _checksum(documents: Sequence[str], tokenizer: Tokenizer, form: str) -> str:
    digest = hashlib.sha256(f"{form} {tokenizer.fingerprint}".encode())
    for document in documents:
        text = document.encode(errors="surrogatepass")
        digest.update(b"%d:" % len(text) + text)
    return digest.hexdigest()
