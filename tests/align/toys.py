"""What the tests of alignment share: an alphabet, tiny models, prompts, pairs and a reward that likes one letter."""

import random

import torch

from minillm.models import Decoder, ModelConfig
from minillm.text import Tokenizer

TOKENIZER = Tokenizer.characters("abcdefgh ")
FP32 = {"device": "cpu", "dtype": "fp32"}


def decoder(seed=0, tokenizer=TOKENIZER, **changes):
    """A model that has opinions: no weight of it is 0."""
    torch.manual_seed(seed)
    size = {"context": 32, "layers": 1, "width": 16, "heads": 2} | changes
    model = Decoder(ModelConfig(tokenizer.vocab_size, **size))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def ask(text):
    return [{"role": "user", "content": text}]


PROMPTS = [ask(text) for text in ("a", "bc", "def", "gh ab", "c", "da", "ehh", "f")]


def share(letter):
    """A reward: how much of an answer is this letter."""
    return lambda conversations, answers: torch.tensor([text.count(letter) / max(len(text), 1) for text in answers])


def various(conversations, answers):
    """A reward that hardly any two answers share."""
    return torch.tensor([sum(ord(c) * (i + 1) for i, c in enumerate(text)) % 7 / 7 for text in answers])


def preferences(number, seed=0):
    """Pairs of which the answer with more a's is the better one."""
    draw = random.Random(seed)
    pairs = []
    while len(pairs) < number:
        texts = ["".join(draw.choice("abcd") for _ in range(draw.randint(1, 6))) for _ in range(2)]
        worse, better = sorted(texts, key=lambda text: text.count("a"))
        if worse.count("a") < better.count("a"):
            pairs.append((draw.choice(PROMPTS), better, worse))
    return pairs


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
