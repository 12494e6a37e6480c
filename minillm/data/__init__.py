"""Token ids to batches, and the records that people bring.

examples      a record as what a model reads: one text, a pair, tagged words, a conversation
batches       a corpus as one row of tokens; windows on it; padded batches; by_length: those for scoring
masking       what a masked language model is asked; packing: several examples in a row
kept          token ids that are worked out once, and then read from a file
shards        a corpus larger than memory, mapped; sharding: how it is made
mixing        several sources of batches in one stream
records       labelled files, read and checked; tagged, conversations, preferences: the same of those; messages
"""

from minillm.data.batches import Batches, Padded, Tokens, Windows, tokenize
from minillm.data.by_length import ByLength
from minillm.data.conversations import ConversationRecord, conversation_example, read_conversations
from minillm.data.examples import (
    IGNORE_INDEX, Frame, mean_token_length, chat_example, decoder_frame, encoder_frame, frame_of, pair_example,
    show_example, tag_example, text_example,
)  # fmt: skip
from minillm.data.kept import tokenize_once
from minillm.data.masking import mask_tokens
from minillm.data.messages import user_message
from minillm.data.mixing import Mixed
from minillm.data.packing import pack
from minillm.data.preferences import Preference, Prompt, read_preferences, read_prompts
from minillm.data.records import (
    Parts, Record, RecordReader, check_not_empty, check_words, classify_example, label_names, load_parts,
    read_labelled, read_scored_pairs, tagged_example, texts_example, unknown_labels,
)  # fmt: skip
from minillm.data.sharding import Options, Sharding, Source, clean_up, sample
from minillm.data.shards import (
    MANIFEST, PROGRESS, TOKENIZER, Documents, PaddedPieces, Pieces, Shards, is_shards,
)  # fmt: skip
from minillm.data.tagged import is_span, read_tagged, to_iob2, words_field
