"""Triton's kernels become machine code of GPUs, with the arguments they are started with; no GPU is needed for that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nerfcomp.kernels.backends import triton_installed

# started in a process of its own: Triton settles when it is imported whether it compiles or interprets
PROGRAM = """
import sys
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from types import SimpleNamespace
from nerfcomp.kernels import backends, triton_setup

target = GPUTarget("cuda", int(sys.argv[1]), 32)
driver.set_active(SimpleNamespace(get_current_device=lambda: 0, get_current_stream=lambda _=0: 0,
                                  get_current_target=lambda: target))
found = {}

def launch(kernel, grid, device, *arguments, **constants):
    compiled = kernel.run(*arguments, grid=grid, warmup=True, **constants)
    found.setdefault(kernel.__module__.split(".")[2] + kernel.__name__, []).append(compiled)

triton_setup.launch = launch
backends.interpreting = lambda: True  # tensors on the CPU are taken; block sizes are those of a GPU:
triton_setup.interpreting = lambda: False
from nerfcomp.kernels.mlp import triton_kernel
triton_kernel.interpreting = lambda: False
from nerfcomp.kernels.adam import AdamStep, adam_step
from nerfcomp.kernels.composite import composite, distortion_loss
from nerfcomp.kernels.hash_grid import grid_geometry, hash_encode
from nerfcomp.kernels.march import march
from nerfcomp.kernels.mlp import mlp
from nerfcomp.kernels.refresh import refresh

geometry = grid_geometry(2, 12, 4, 64)
tables = [torch.randn(rows, 2, requires_grad=True) for rows in geometry.entries]
x = torch.rand(999, 3, requires_grad=True)
torch.autograd.grad(hash_encode(x, tables, geometry, "triton").sum(), [x, *tables])
offsets, alpha, rgb = torch.tensor([0, 400, 999]), torch.rand(999, requires_grad=True), torch.rand(999, 3)
pixels = composite(alpha, rgb, alpha.detach(), offsets, backend="triton")
torch.autograd.grad(pixels.rgb.sum(), alpha)
torch.autograd.grad(distortion_loss(alpha, rgb[:, 0], rgb[:, 1], offsets, "triton").sum(), alpha)
box, near = torch.tensor([[-1.0] * 3, [1.0] * 3]), torch.zeros(50)
for cascades in (1, 3):
    occupied = torch.ones(cascades, 8, 8, 8, dtype=torch.bool)
    march(rgb[:50], rgb[:50], near, near + 9, None, occupied, box, 0.1, 0.2, 0.1, backend="triton", capacity=64)
for widths in ([32, 64, 16], [32, 64, 64, 3]):
    weights = [torch.randn(b, a, requires_grad=True) for a, b in zip(widths[:-1], widths[1:])]
    torch.autograd.grad(mlp(torch.randn(999, 32, requires_grad=True), weights, "triton").sum(), weights)
adam_step(*(rgb.clone() for _ in range(4)), AdamStep(0.1, 0.9, 0.99, 1e-15, 0.0, 1), "triton")
refresh(torch.rand(99), torch.arange(50), torch.rand(50), torch.tensor(0.9), "triton")
for name, kernels in sorted(found.items()):
    shared = max(kernel.metadata.shared for kernel in kernels)
    assert all(len(kernel.asm["cubin"]) > 1000 for kernel in kernels), name
    print(name, len(kernels), shared)
tables = found["hash_grid_backward"][0].asm["ptx"]
print("vector-atomics", "red.global.gpu.relaxed.add.v2.f32" in tables or ".add.v2.f32" in tables)
"""

KERNELS = {
    "hash_grid_forward": 1,
    "hash_grid_backward": 1,
    "hash_grid_backward_positions": 1,
    "composite_composite": 1,
    "composite_composite_backward": 1,
    "composite_distortion": 1,
    "composite_distortion_backward": 1,
    "march_march": 4,
    "mlp_forward": 2,
    "mlp_backward": 2,
    "adam_step": 1,
    "refresh_refresh": 3,
}
ON_REQUEST = pytest.mark.skipif(
    "NERFCOMP_ALL_GPUS" not in os.environ, reason="takes a minute and more: set NERFCOMP_ALL_GPUS"
)
SHARED = {86: 101_376, 90: 232_448}  # bytes of shared memory that a program may have


@pytest.mark.slow
@ON_REQUEST
@pytest.mark.timeout(900)
@pytest.mark.skipif(not triton_installed(), reason="Triton is not installed (pip install 'nerfcomp[triton]')")
@pytest.mark.parametrize("capability", [86, 90])
def test_every_kernel_compiles(repository: Path, tmp_path: Path, capability: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(capability)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    *lines, atomics = [line.split() for line in run.stdout.splitlines()]
    assert {name: int(number) for name, number, _ in lines} == KERNELS
    assert all(int(shared) <= SHARED[capability] for _, _, shared in lines)
    assert atomics == ["vector-atomics", str(capability >= 90)]
