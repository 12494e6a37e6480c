"""Tiny tokenizers of every kind that people have, trained here by Hugging Face's `tokenizers`: what they are and why.

Each is as the family makes it: the normaliser, what cuts, the model, the decoder, what stands around a text.
"""

import json
from functools import cache

from hostile import HOSTILE
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ENGLISH = "the cat sat on the mat. The cat's kittens didn't eat 1234 rats, they've eaten 56!\n\n  def f(x):\n\treturn x"
OTHER = "naïve café über straße Ångström résumé, 日本語の文章。中文字 한국어 हिन्दी العربية 👩‍👩‍👧‍👦 🇫🇷"
CORPUS = [*HOSTILE, *[ENGLISH * 3] * 3, *[OTHER] * 5]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK = ["[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", "[一-龥ࠀ-一가-퟿]+"]
ALPHABET = pre_tokenizers.ByteLevel.alphabet()


def byte_level(
    cut, vocab_size=600, normalizer=None, specials=("<|endoftext|>",), alphabet=ALPHABET, **more
) -> Tokenizer:
    """Byte pairs with the given way to cut."""
    tokenizer = Tokenizer(models.BPE(**more))
    tokenizer.pre_tokenizer, tokenizer.decoder = cut, decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=list(specials), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def whole(prefix=False, regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def regex(*patterns):
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*splits, whole(regex=False)])


def around(tokenizer: Tokenizer, single: str, pair: str, names) -> Tokenizer:
    specials = [(name, tokenizer.token_to_id(name)) for name in names]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=specials)
    return tokenizer


def llama3() -> Tokenizer:
    tokenizer = byte_level(regex(LLAMA3), specials=("<|reserved|>",), ignore_merges=True)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    return around(
        tokenizer, "<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|> $B:1", ["<|begin_of_text|>"]
    )


def of_tiktoken() -> Tokenizer:
    """As a vocabulary of tiktoken's is written for `tokenizers`: every pair of tokens that makes a third is a merge."""
    content = json.loads(llama3().to_str())
    vocab = content["model"]["vocab"]
    ways = {token: [(token[:i], token[i:]) for i in range(1, len(token))] for token in sorted(vocab, key=vocab.get)}
    known = {token: [way for way in some if way[0] in vocab and way[1] in vocab] for token, some in ways.items()}
    content["model"]["merges"] = [
        f"{a} {b}" for some in known.values() for a, b in sorted(some, key=lambda way: (vocab[way[0]], vocab[way[1]]))
    ]
    return Tokenizer.from_str(json.dumps(content))


def qwen() -> Tokenizer:
    tokenizer = byte_level(regex(QWEN2), normalizer=normalizers.NFC(), specials=())
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens(["<tool_call>", AddedToken("<think>", normalized=False)])
    return tokenizer


def smollm() -> Tokenizer:
    cut = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole()])
    return byte_level(cut, specials=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"))


def lacking() -> Tokenizer:
    """Some bytes have no token, as in SmolLM2: they are dropped, and what stands around them is merged."""
    cut = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole()])
    return byte_level(cut, alphabet=sorted(ALPHABET)[:60], vocab_size=400)


def deepseek() -> Tokenizer:
    cut = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in DEEPSEEK]
    return byte_level(
        pre_tokenizers.Sequence([*cut, pre_tokenizers.Digits(individual_digits=True), whole(regex=False)])
    )


def flags() -> Tokenizer:
    """Added tokens with every flag."""
    tokenizer = byte_level(whole(prefix=True), specials=("<s>", "</s>"), normalizer=normalizers.Lowercase())
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("[END]", rstrip=True)])
    tokenizer.add_tokens([AddedToken("cat", single_word=True), AddedToken("<Both>", lstrip=True, rstrip=True)])
    tokenizer.add_tokens([AddedToken("\n\n"), AddedToken("RAW", normalized=False), "<|x|>"])
    return tokenizer


def bert(vocab_size=500, lower=True, **more) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower, **more)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return around(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ["[CLS]", "[SEP]"])


def fallback(specials=("<unk>", "<s>", "</s>"), vocab_size=700, lost=(), **more) -> Tokenizer:
    """BPE over characters, whose unknown ones become bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True, **more))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    names = [*specials, *(f"<0x{byte:02X}>" for byte in range(256) if byte not in lost)]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=names, show_progress=False, limit_alphabet=120)
    tokenizer.train_from_iterator(CORPUS, trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in specials]
    return Tokenizer.from_str(json.dumps(content))


def llama2(lost=()) -> Tokenizer:
    tokenizer = fallback(lost=lost)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return around(tokenizer, "<s> $A", "<s> $A <s>:1 $B:1", ["<s>"])


def mistral(scheme="first") -> Tokenizer:
    tokenizer = fallback()
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return around(tokenizer, "<s> $A", "<s> $A <s>:1 $B:1", ["<s>"])


def gemma() -> Tokenizer:
    tokenizer = fallback(("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("\n\n", "\n\n\n", "▁▁", "▁▁▁▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return around(tokenizer, "<bos> $A", "<bos> $A <bos>:1 $B:1", ["<bos>"])


MAKERS = {
    "gpt2": lambda: byte_level(whole()),
    "gpt2 with a space": lambda: byte_level(whole(prefix=True)),
    "smollm": smollm,
    "lacking bytes": lacking,
    "llama3": llama3,
    "llama3 of tiktoken": of_tiktoken,
    "qwen": qwen,
    "deepseek": deepseek,
    "flags": flags,
    "bert": bert,
    "bert with case": lambda: bert(lower=False),
    "bert with accents": lambda: bert(strip_accents=False, handle_chinese_chars=False, clean_text=False),
    "llama2": llama2,
    "llama2 lacking bytes": lambda: llama2(lost=(0xE2, 0xF0, 0x41)),
    "mistral": mistral,
    "metaspace": lambda: mistral("always"),
    "gemma": gemma,
}


@cache
def foreign(name: str) -> Tokenizer:
    """One of them, made once."""
    return MAKERS[name]()
