"""Models, which know nothing of text or training. In the order of the course:

bigram        the baseline, counted and learned; lstm: the recurrent one
attention     attention in plain maths, and the fast path; rotary positions; the cache
recipes       the parts in which transformers differ, and who takes which
transformer   ModelConfig, Block, the trunk, Decoder and Encoder
heads         classes, tags, vectors and rewards, read off a trunk; layers: which layer a parameter belongs to
"""

from minillm.models.attention import (
    Attend,
    KVCache,
    SelfAttention,
    attend,
    attention,
    causal_mask,
    rotary_tables,
    rotate,
)
from minillm.models.bigram import BigramLM, CountBigram, bigram_loss
from minillm.models.heads import (
    POOLINGS,
    Head,
    PairClassifier,
    RewardModel,
    SequenceClassifier,
    TextEncoder,
    TokenClassifier,
    in_fp32,
    last_token,
    mean_pool,
)
from minillm.models.layers import layer_depths, layer_stack
from minillm.models.lstm import LSTMLM, LSTMConfig, lstm_step
from minillm.models.recipes import RECIPES, NoShift, PlainNorm, ReLUSquared, TokenShift, zero_init
from minillm.models.transformer import Block, Decoder, Encoder, ModelConfig, Transformer
