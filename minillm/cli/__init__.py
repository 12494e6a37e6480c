"""The command line: `python train.py COMMAND`, one file a command."""

from minillm.cli.common import bigram_loss, floor
from minillm.cli.dpo import DPO, LONGEST, batches
from minillm.cli.finetune import load, predict, train_config
from minillm.cli.main import main
from minillm.cli.methods import METHODS, Method, Prepared, prepare
from minillm.cli.mlm import WATCHED
from minillm.cli.ppo import STANDARD, PPOSettings, load_prompts, load_reward, ppo_config
from minillm.cli.reward import Reward, against_truth, load_answering
from minillm.cli.sft import SFT, asked_of, sft_example
from minillm.cli.trunks import frame_of
from minillm.cli.understanding import (
    CLASSIFY,
    ENCODE,
    PAIR,
    TAG,
    Classify,
    classify_example,
    similarity_scores,
    tagged_example,
    tags_of,
)
