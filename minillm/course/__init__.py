"""What the lessons share: the models that they stand on, and exercises that check themselves."""

from minillm.course.exercises import check
from minillm.course.models import ROOT, default_run, letters_run, lstm_run, mlm_run, reward_run, sft_run
