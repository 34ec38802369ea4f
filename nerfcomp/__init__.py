"""Train, compress, decode and render neural fields."""

import os

from nerfcomp.allocator import keep_large_blocks

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning OpenMP threads starve every other process on the machine
keep_large_blocks()

__version__ = "0.1.0"
