"""Points in a second, by a clock that is not the machine's; and the processor's own name."""

from pathlib import Path

import pytest
import torch

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.evaluation import speed
from tests.teacher import tiny_teacher


def test_points_in_a_second_are_those_of_the_fastest_round(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = tiny_teacher()
    assert isinstance(trained, RadianceFieldArtifact)
    readings = iter([0.0, 0.1, 1.0, 3.0, 4.0, 4.5])  # rounds of 0.1 s, which does not count, 2 s and 0.5 s
    monkeypatch.setattr("time.perf_counter", lambda: next(readings))
    asked = []
    shade = trained.field.shade

    def counted(x: torch.Tensor, d: torch.Tensor, dt: torch.Tensor) -> object:
        assert bool((x >= trained.field.aabb[0]).all()) and bool((x <= trained.field.aabb[1]).all())
        assert torch.allclose(d.norm(dim=1), torch.ones(len(d)))
        asked.append(len(x))
        return shade(x, d, dt)

    monkeypatch.setattr(trained.field, "shade", counted)
    assert speed.points_per_second(trained, points=64, rounds=2) == 64 / 0.5
    assert asked == [64, 64, 64]


def test_a_processor_is_named_with_what_it_has_for_integers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(speed, "_CPU_INFO", file)
    file.write_text("processor\t: 0\nmodel name\t: Fast One\nflags\t\t: fpu avx2 avx512_vnni\n")
    assert speed.processor_name() == "Fast One (avx2, avx512_vnni)"
    file.write_text("model name\t: Old One\nflags\t\t: fpu avx20\n")
    assert speed.processor_name() == "Old One (no AVX2)"
    file.unlink()
    assert speed.processor_name()
