"""What decides how many bits each weight deserves; knows no networks and no files."""

from nerfcomp.compression.allocation import allocate_qp
from nerfcomp.compression.search import largest_passing
from nerfcomp.compression.sensitivity import measure_sensitivity

__all__ = ["allocate_qp", "largest_passing", "measure_sensitivity"]
