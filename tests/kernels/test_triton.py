"""Triton's kernels without a GPU: the tests of all kernels, run in Triton's interpreter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nerfcomp.kernels.backends import triton_installed

PLACES = ("tests/kernels", "tests/modules/test_sized_step.py")
pytestmark = pytest.mark.skipif(
    not triton_installed(), reason="Triton is not installed (pip install 'nerfcomp[triton]')"
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(torch.cuda.is_available(), reason="the same tests run natively on this machine's GPU")
def test_every_kernel_in_the_interpreter(repository: Path) -> None:
    command = [sys.executable, "-m", "pytest", *PLACES, "-k", "triton and not test_triton", "-q", "-x"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", run.stdout)
    assert run.returncode == 0 and passed is not None, run.stdout[-5000:] + run.stderr[-2000:]
    assert int(passed[1]) >= 60 and "skipped" not in run.stdout
