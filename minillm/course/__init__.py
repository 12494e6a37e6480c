"""What the lessons share.

models      the trained models that they stand on, each found or made first
folded      what answers a guess, folded until one opens it
skipping    cells that do nothing where a model is absent
exercises   a file for each lesson: exercises that check themselves
progress    which of them are right so far; __main__: python -m minillm.course progress
"""

from minillm.course.exercises import check
from minillm.course.folded import folded
from minillm.course.models import (
    ROOT,
    begin,
    default_run,
    letters_run,
    lstm_run,
    make_models,
    mlm_run,
    ready_models,
    reward_run,
    sft_run,
)
from minillm.course.skipping import skip_cells
