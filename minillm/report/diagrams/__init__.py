from minillm.report.diagrams import adapting, alignment, answers, attention, blocks, inside, judges, language, learning, peft, practice, speed, tasks
from minillm.report.diagrams.registry import DIAGRAMS, draw
