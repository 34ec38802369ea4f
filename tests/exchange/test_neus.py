"""Checkpoints with the names of the authors' code."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.surface import SurfaceArtifact
from nerfcomp.commands.program import main
from nerfcomp.errors import CheckpointError
from nerfcomp.exchange.mesh import MeshOptions, field_mesh
from nerfcomp.exchange.neus import read_neus
from nerfcomp.fields import NeuSField
from nerfcomp.geometry.rays import Rays
from nerfcomp.rendering import render_image
from tests.fields.test_neus import published_sdf
from tests.fields.test_outside import published_outside
from tests.readers.test_dtu import write_dtu


def published_state(width: int = 64, layers: int = 4, skip: int = 2) -> dict[str, Any]:
    """What NeuS saves, filled with random numbers: shapes as in its SDFNetwork and RenderingNetwork."""
    generator = torch.Generator().manual_seed(5)

    def linear(inputs: int, outputs: int) -> dict[str, torch.Tensor]:
        shapes = {"bias": (outputs,), "weight_g": (outputs, 1), "weight_v": (outputs, inputs)}
        return {name: torch.randn(shape, generator=generator) / inputs**0.5 for name, shape in shapes.items()}

    def network(widths: list[int], narrow: int | None = None) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for layer, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:])):
            made = linear(inputs, outputs - 39 if layer + 1 == narrow else outputs)
            found |= {f"lin{layer}.{name}": value for name, value in made.items()}
        return found

    return {
        "nerf": {"pts_linears.0.weight": torch.zeros(2, 2)},
        "sdf_network_fine": network([39, *[width] * layers, width + 1], skip),
        "variance_network_fine": {"variance": torch.tensor(0.5)},
        "color_network_fine": network([3 + 27 + 3 + width, *[width] * 2, 3]),
        "optimizer": {"state": {}, "param_groups": []},
        "iter_step": 300_000,
    }


def test_a_checkpoint_of_the_authors_gives_their_values(tmp_path: Path) -> None:
    stored = published_state()
    torch.save(stored, tmp_path / "ckpt_300000.pth")
    field = read_neus(tmp_path / "ckpt_300000.pth")
    state = {f"sdf_network.{name}": value for name, value in stored["sdf_network_fine"].items()}
    x = torch.rand(50, 3) * 2 - 1
    torch.testing.assert_close(field.sdf(x), published_sdf(state, x, 4, 2)[:, 0], atol=1e-5, rtol=1e-4)
    assert float(field.inv_s.detach()) == pytest.approx(float(torch.exp(torch.tensor(5.0))))
    assert field.arguments["skip"] == 2 and field.arguments["hidden_width"] == 64


def with_background(width: int = 24, depth: int = 6) -> dict[str, Any]:
    """The same with the NeRF that NeuS keeps for what is outside, after steps in which it had gradients."""
    generator = torch.Generator().manual_seed(6)
    widths = {f"pts_linears.{n}": (84 if n == 0 else width + 84 * (n == 5), width) for n in range(depth)}
    widths |= {"views_linears.0": (width + 27, width // 2), "feature_linear": (width, width)}
    widths |= {"alpha_linear": (width, 1), "rgb_linear": (width // 2, 3)}
    nerf = {}
    for name, (inputs, outputs) in widths.items():
        nerf[f"{name}.weight"] = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
        nerf[f"{name}.bias"] = torch.randn(outputs, generator=generator)
    optimizer = {"state": {0: {"step": torch.tensor(9.0)}}, "param_groups": []}
    return {**published_state(), "nerf": nerf, "optimizer": optimizer}


def test_a_background_that_was_trained_is_read(tmp_path: Path) -> None:
    stored, file = with_background(), tmp_path / "ckpt_300000.pth"
    torch.save(stored, file)
    field = read_neus(file)
    assert field.outside is not None
    field.set_cascades(3)
    field.set_aabb(torch.tensor([[-4.0] * 3, [4.0] * 3]))
    state = {f"outside.{name}": value for name, value in stored["nerf"].items()}
    x = torch.randn(40, 3)
    x = x / x.norm(dim=1, keepdim=True) * (1 + 3 * torch.rand(40, 1))
    d, dt = torch.nn.functional.normalize(torch.randn(40, 3), dim=1), torch.full((40,), 0.3)
    density, rgb = published_outside(state, x, d)
    shown = field.shade(x, d, dt)
    torch.testing.assert_close(shown.alpha, 1 - torch.exp(-density * dt), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(shown.rgb, rgb, atol=1e-5, rtol=1e-4)
    assert read_neus(file, background=False).outside is None
    torch.save({**stored, "optimizer": published_state()["optimizer"]}, file)
    assert read_neus(file).outside is None and read_neus(file, background=True).outside is not None
    del stored["nerf"]
    torch.save(stored, file)
    with pytest.raises(CheckpointError, match="no background network"):
        read_neus(file, background=True)


@pytest.mark.slow
def test_a_background_needs_surroundings(tmp_path: Path) -> None:
    torch.save(with_background(), tmp_path / "ckpt_000010.pth")
    write_dtu(tmp_path / "scene")
    command = ["import", "neus", str(tmp_path / "ckpt_000010.pth"), "--out", str(tmp_path / "ours.ckpt")]
    command += ["--reader", "DTUReader", "--reader.root", str(tmp_path / "scene"), "--reader.masks", "false"]
    with pytest.raises(CheckpointError, match="--reader.surroundings 4, or --background false"):
        main(command)
    main([*command, "--reader.surroundings", "2"])
    trained = of_kind(read_artifact(tmp_path / "ours.ckpt"), SurfaceArtifact, "This shows")
    assert trained.field.cascades == 3
    assert trained.sampler.occupied[1:].float().mean() == 7 / 8  # the rest is what finer cascades cover
    assert 0.4 < float(trained.sampler.occupied[0].float().mean()) < 0.95  # the corners around the sphere, and surfaces
    far = float(trained.scene.far)
    ray = Rays(*(torch.tensor([v]) for v in ([1.2, 1.2, -3], [0, 0, 1.0], [0.0], [far], [0, 0, 1.0])))
    assert float(trained.render(ray, torch.zeros(3)).opacity) > 0.9


def test_other_files_are_refused(tmp_path: Path) -> None:
    stored = published_state()
    torch.save({**stored, "sdf_network_fine": {}}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match="lacks layers"):
        read_neus(tmp_path / "empty.pth")
    del stored["variance_network_fine"]
    torch.save(stored, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="has no variance_network_fine"):
        read_neus(tmp_path / "other.pth")
    bad = published_state()
    bad["color_network_fine"]["lin1.bias"] = torch.zeros(3)
    torch.save(bad, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="color_network.lin1.bias does not fit"):
        read_neus(tmp_path / "bad.pth")


@pytest.mark.slow
def test_an_imported_surface_is_drawn_and_has_its_mesh(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ball = NeuSField(sdf_hidden_layers=3, hidden_width=64, skip=2, rgb_hidden_layers=1)
    ball.set_aabb(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    ball.set_sharpness(6.0)
    stored: dict[str, Any] = {name: {} for name in ("sdf_network_fine", "color_network_fine")}
    for name, value in ball.state_dict().items():
        network, _, key = name.partition(".")
        stored.setdefault(f"{network}_fine", {})[key] = value
    stored["variance_network_fine"] = {"variance": ball.deviation_network.variance.detach()[0]}
    torch.save(stored, tmp_path / "ckpt_000010.pth")
    write_dtu(tmp_path / "scene")
    reader = ["--reader", "DTUReader", "--reader.root", str(tmp_path / "scene")]
    main(["import", "neus", str(tmp_path / "ckpt_000010.pth"), "--out", str(tmp_path / "ours.ckpt"), *reader])
    trained = of_kind(read_artifact(tmp_path / "ours.ckpt"), SurfaceArtifact, "This shows")
    share = float(trained.sampler.occupied.float().mean())
    assert 0.001 < share < 0.3
    mesh = field_mesh(trained, MeshOptions(48, world=False))
    assert len(mesh.faces) > 1000 and float(ball.sdf(torch.from_numpy(mesh.vertices).float()).abs().max()) < 0.01
    ahead = Rays(*(torch.tensor([v]) for v in ([0.0, 0, -3], [0, 0, 1.0], [0.0], [9.0], [0, 0, 1.0])))
    with trained.evaluating():
        seen = render_image(trained.field.shade, ahead, trained.sampler, torch.ones(3))
    hit = ahead.origins + ahead.directions * seen.depth[:, None] / seen.opacity[:, None]
    assert float(seen.opacity) > 0.99 and abs(float(ball.sdf(hit))) < 0.02
