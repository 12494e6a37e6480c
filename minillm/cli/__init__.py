"""The command line: `python train.py COMMAND`. To read: main, life, then a command, such as pretrain or sft.

flags       settings, dataclasses, to flags; settings: the groups that commands share
life        the life of a run, once; finetune: of those that tune a trained model; methods: what of it learns
main        which commands there are; every other file is one of them
"""

from minillm.cli.classify import Classify, ClassifySettings
from minillm.cli.dpo import DPOSettings
from minillm.cli.finetune import tuning_config
from minillm.cli.flags import build, change
from minillm.cli.main import main
from minillm.cli.methods import METHODS, MethodSettings, Prepared, prepare
from minillm.cli.ppo import STANDARD, WATCHED, PPOSettings, load_prompts, load_reward, ppo_config
from minillm.cli.reward import RewardSettings, against_truth, load_answering
from minillm.cli.sft import SFTSettings, questions_in
