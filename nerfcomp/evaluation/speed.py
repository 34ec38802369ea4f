"""How fast a radiance field evaluates points, and on which processor."""

import platform
import time
from pathlib import Path

import torch

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.devices import finish

_CPU_INFO = Path("/proc/cpuinfo")
_INTERVAL = 0.01


def points_per_second(trained: RadianceFieldArtifact, points: int = 2**13, rounds: int = 3) -> float:
    """Points in the field's box whose opacity and colour it says in a second; the best of some rounds.

    Args:
        trained: The field.
        points: Asked at once.
        rounds: After one that does not count.
    """
    generator = torch.Generator().manual_seed(0)
    low, high = trained.field.aabb.cpu()
    x = low + torch.rand(points, 3, generator=generator) * (high - low)
    d = torch.nn.functional.normalize(torch.randn(points, 3, generator=generator), dim=1)
    inputs = [value.to(trained.device) for value in (x, d, torch.full((points,), _INTERVAL))]
    seconds = []
    trained.field.eval()
    with torch.no_grad():
        for _ in range(rounds + 1):
            start = time.perf_counter()
            trained.field.shade(*inputs)
            finish(trained.device)
            seconds.append(time.perf_counter() - start)
    return points / min(seconds[1:])


def processor_name() -> str:
    """What the processor calls itself, with what it has for integers."""
    if not _CPU_INFO.is_file():
        return platform.processor() or platform.machine()
    lines = _CPU_INFO.read_text().splitlines()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = found.get("flags", "").split()
    has = [name for name in ("avx2", "avx512_vnni", "avx_vnni", "amx_int8") if name in flags]
    return f"{found.get('model name', platform.machine())} ({', '.join(has) or 'no AVX2'})"
