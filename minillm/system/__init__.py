"""What touches the machine, and nothing else does.

device        where to compute and how exactly; seeds
compiling     torch.compile, and going on where it does not work
files         files that are whole or absent: bytes, text, JSON; what is damaged is named
safetensors   tensors in files, read whole or mapped; nothing pickled
lock          one process a folder
distributed   several processes that train as one; buckets: gradients summed on the way
progress      speed, time left, Ctrl-C
"""

from minillm.system.compiling import Compiled
from minillm.system.device import (
    DTYPES, Compute, check_seed, cpu_has_fast_bf16, pick_device, random_state, seed_everything, set_random_state,
)  # fmt: skip
from minillm.system.distributed import (
    ALONE, Alone, Together, is_lost, place_of_process, restarted, speaks_first, spread, started, whole,
)  # fmt: skip
from minillm.system.files import (
    Damaged, Fields, check_file, check_readable, is_kind, read_json, read_object, reading, shown, sweep, to_json,
    write_atomic, write_json, write_text,
)  # fmt: skip
from minillm.system.lock import FolderLock, InUse
from minillm.system.progress import Interrupt, Timer, duration, patient_interrupt
from minillm.system.safetensors import MappedFile, load_file, map_file, save_file
