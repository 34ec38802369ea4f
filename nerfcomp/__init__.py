"""Train, compress, decode and render neural fields."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning OpenMP threads starve every other process on the machine

__version__ = "0.1.0"
