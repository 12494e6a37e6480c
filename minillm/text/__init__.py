"""Raw text to token ids.

utf8, corpus     files into documents; a split in which nothing leaks; gutenberg: a book without its licence
blocks, seen     files beyond memory, in parts; which of their documents came before
record_files     files of records, read and checked; tables: of rows and columns, and the names that fields go by
cleaning         tidy a corpus, with markup (HTML out of text), normal (Unicode's forms) and dedup (near duplicates)
plain_bpe, bpe   learn byte-pair merges: as on a blackboard, and fast
engines          text to ids and back, by byte pairs (long_words: without end) and by characters
pipeline         tokenizers that others made: added_tokens are found, normalizers tidy, pre_tokenizers cut (patterns:
                 with their regular expressions), merges and word_pieces look words up, decoders go back; parts: checked
roles            which ids begin and end a text, pad, mask; gpt2_files: GPT-2's vocabulary
tokenizer        one class over all of these: special tokens, padding, files
chat_template    a conversation as ids; templates: other people's, as text; frames: as data
"""

from minillm.text.blocks import Block, block_form, block_texts, read_blocks, text_files
from minillm.text.bpe import BYTES, GPT2_PATTERN, fitting, train_bpe
from minillm.text.chat_template import CHAT_ROLES, apply_chat_template, render
from minillm.text.cleaning import clean, clean_corpus
from minillm.text.corpus import read_documents, split, split_stream
from minillm.text.decoders import TIDY
from minillm.text.dedup import (
    bands_and_rows, candidate_pairs, collision_probability, estimated_jaccard, exact_duplicates, jaccard,
    mix, near_duplicates, shingles, signatures,
)  # fmt: skip
from minillm.text.frames import chat_frames
from minillm.text.plain_bpe import encode_plain, train_plain
from minillm.text.record_files import (
    TABLES, holds_records, keep_good, leave_out, list_field, names_columns, read_each, read_records, text_field,
)  # fmt: skip
from minillm.text.parts import check_added, check_model
from minillm.text.pipeline import Pipeline
from minillm.text.pre_tokenizers import BYTE_CHARACTERS, pattern_for_tiktoken
from minillm.text.seen import Seen, exact_keys, near_keys
from minillm.text.roles import Roles, nearest_roles
from minillm.text.templates import TEMPLATE_NAMES, TEMPLATES, name_of
from minillm.text.tokenizer import Tokenizer
from minillm.text.utf8 import read_text
