"""The command line: `python train.py COMMAND`. To read: main, life, then a command, such as pretrain or sft.

main         which commands there are; flags: from a command line to settings and to the command that takes them
terminal     what a terminal is shown; advice: a sentence at the end of a run that did badly
settings     groups of settings that commands share; methods: `--method`, what of a trained model learns
life         the life of a run, once; opening: where it lives; finetune: of what tunes a trained model; heads: of what
             puts a head on it; rehearsal: so that the text of pre-training is not forgotten
depth        `--depth`, the one dial: the rule by which all else follows from it; plan: what a run will take, before
             it begins; cost: operations and seconds of a step; memory: where it goes, and whether a model fits
size         of a model that goes on from a run
corpus       the text that pretrain and mlm learn from; prepare: shards, of text larger than memory
one each     pretrain (and bigram), mlm; classify, pair, tag, encode, sft, reward, dpo; ppo (ppo_settings, ppo_inputs)
             generate, chat, answer, predict, evaluate, merge, export; models; tour, with its tour_report
doctor       what this machine is, and how fast; parts: whether it computes the parts of a model rightly
page         a run as one page of HTML; page_data: what stands in it beside the model
"""

from minillm.cli.classify import Classify, ClassifySettings
from minillm.cli.dpo import DPOSettings
from minillm.cli.finetune import tuning_config
from minillm.cli.flags import build, change
from minillm.cli.main import main
from minillm.cli.methods import METHODS, MethodSettings, Prepared, prepare
from minillm.cli.ppo import STANDARD, WATCHED
from minillm.cli.ppo_inputs import load_prompts, load_reward
from minillm.cli.ppo_settings import PPOSettings, ppo_config
from minillm.cli.reward import RewardSettings, against_truth, load_answering
from minillm.cli.sft import SFTSettings, questions_in
