"""Raw text to token ids.

corpus           files into documents and records; a split in which nothing leaks
cleaning         tidy a corpus, with markup (HTML out of text), normal (Unicode's forms) and dedup (near duplicates)
plain_bpe, bpe   learn byte-pair merges: as on a blackboard, and fast
tokenizer        text to ids and back, special tokens, padding; gpt2_files: GPT-2's vocabulary
chat_template    a conversation as ids
"""

from minillm.text.bpe import BYTES, train_bpe
from minillm.text.chat_template import CHAT_ROLES, apply_chat_template
from minillm.text.cleaning import clean, clean_corpus
from minillm.text.corpus import read_documents, read_records, read_text, split, split_stream, text_field
from minillm.text.dedup import (
    bands_and_rows, candidate_pairs, collision_probability, estimated_jaccard, exact_duplicates, jaccard,
    near_duplicates, shingles, signatures,
)  # fmt: skip
from minillm.text.plain_bpe import encode_plain, train_plain
from minillm.text.tokenizer import Tokenizer
