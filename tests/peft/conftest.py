"""What several tests of adapters share: models of transformers, and ours with their weights."""

import copy

import pytest

from minillm.hub.huggingface import load_pretrained


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """family -> a model of transformers, and ours with its weights; both new at every call."""
    from originals import CLASSES, randomise, transformers  # skips where they are not installed

    made = {}

    def build(family):
        if family not in made:
            name, size = CLASSES[family]
            cls, folder = getattr(transformers, name), tmp_path_factory.mktemp(family)
            theirs = cls(cls.config_class(**size, bos_token_id=None, eos_token_id=None, pad_token_id=None)).eval()
            randomise(theirs.parameters())
            theirs.save_pretrained(folder)
            made[family] = theirs, load_pretrained(folder)[0]
        return copy.deepcopy(made[family])

    return build
