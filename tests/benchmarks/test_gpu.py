"""The benchmark of GPUs: refuses without one, and its cases are calls of every kernel."""

import pytest
import torch

from benchmarks import gpu
from nerfcomp.errors import NerfcompError


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_refuses_without_a_gpu() -> None:
    with pytest.raises(NerfcompError, match="needs an NVIDIA GPU and a CUDA build of torch"):
        gpu.gpu_name()
