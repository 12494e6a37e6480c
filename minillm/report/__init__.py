"""What people look at.

plots       the pictures: the only file that imports matplotlib
html        a page that needs no other file; live: one that computes, out of the folder page
diagrams    what the lessons draw: SVG with an alternative text
"""

from minillm.report.plots import (
    COLOURS, LINE_STYLES, ROUNDS, coloured_text, finished_pictures, heat_map, log_probabilities, loss_curve,
    picture, reliability, rounds, short, use_style,
)  # fmt: skip
from minillm.report.live import ENGINE, live_page
