"""What touches the machine, and nothing else does.

device        where to compute and how exactly; seeds
files         files that are whole or absent: bytes, text, JSON, tensors; nothing pickled
progress      speed, time left, Ctrl-C
"""

from minillm.system.device import (
    Compute, check_seed, compiled, cpu_has_fast_bf16, pick_device, random_state, seed_everything, set_random_state,
)  # fmt: skip
from minillm.system.files import (
    check_file, load_file, read_json, save_file, to_json, write_atomic, write_json, write_text,
)  # fmt: skip
from minillm.system.progress import Interrupt, Timer, duration, patient_interrupt
