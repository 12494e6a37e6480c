"""Models: token ids to logits. They know nothing of text, losses or training. Read in this order:

bigram, lstm  the baseline, counted and learned; a recurrent language model; convolution: one of convolutions
attention     attention in plain maths and as a fast path, rotary positions, the KV cache
recipes       norms, MLPs, LM heads: the parts in which GPT-2, BERT, Llama and ours differ
transformer   ModelConfig, Block, the trunk, Decoder and Encoder
encoder_decoder  two texts: cross-attention, the transformer of 2017
ladder        the recipes between GPT-2 and Llama
foreign       the parts of other people's families, and their recipes; details: what only they need to have said
quantized     linear layers in 2 to 8 bits
heads         classifiers, text encoder and reward model on a trunk
layers        which layer a parameter belongs to; modes: evaluation mode for a while
"""

from minillm.models.attention import (
    Attend, KVCache, SelfAttention, attend, attention, causal_mask, rotary_tables, rotate,
)  # fmt: skip
from minillm.models.bigram import BigramLM, CountBigram, bigram_loss
from minillm.models.convolution import ConvolutionConfig, ConvolutionLM, causal_convolution
from minillm.models.details import Details, stated
from minillm.models.encoder_decoder import CrossAttention, EncoderDecoder
from minillm.models.foreign import FOREIGN, OWN_RECIPES, ForeignAttention, OnePlusRMSNorm
from minillm.models.heads import (
    POOLINGS, Head, PairClassifier, PooledClassifier, RewardModel, SequenceClassifier, TextEncoder, TokenClassifier,
    in_fp32, last_token, mean_pool,
)  # fmt: skip
from minillm.models.ladder import LADDER, RUNGS
from minillm.models.layers import layer_depths, layer_stack
from minillm.models.lstm import LSTMLM, LSTMConfig, lstm_step
from minillm.models.modes import evaluating
from minillm.models.quantized import (
    BITS, BLOCK, QuantizedLinear, bytes_of, quantize, quantize_blocks, rounding_error,
)  # fmt: skip
from minillm.models.recipes import (
    RECIPES, FeedForward, GatedFeedForward, NoShift, PlainNorm, ReLUSquared, TokenShift, zero_init,
)  # fmt: skip
from minillm.models.transformer import Block, Decoder, Encoder, ModelConfig, Transformer
