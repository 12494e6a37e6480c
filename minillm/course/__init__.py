"""What the lessons share.

models      the trained models that they stand on, each found or made first
exercises   a file for each lesson: exercises that check themselves; __main__ writes the models anew
"""

from minillm.course.exercises import check
from minillm.course.models import ROOT, begin, default_run, letters_run, lstm_run, mlm_run, reward_run, sft_run
