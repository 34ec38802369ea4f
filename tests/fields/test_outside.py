"""Surroundings of a surface against the renderer of NeuS and the network of NeRF++, written out from the papers."""

import math

import pytest
import torch
from torch import Tensor

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.artifacts.surface import SurfaceArtifact
from nerfcomp.exchange.mesh import MeshOptions, field_mesh
from nerfcomp.fields import NeuSField
from nerfcomp.geometry.rays import Rays
from nerfcomp.kernels.march import Samples
from nerfcomp.rendering import OccupancySampler, render
from tests.fields.test_neus import SMALL, published_color, published_sdf, waves
from tests.fields.test_surface import published_alpha
from tests.tiny import TinyReader

State = dict[str, Tensor]
DEPTH, WIDTH = 6, 24


def surrounded(cascades: int = 1, half: float = 1.0) -> NeuSField:
    torch.manual_seed(3)
    shape = {"background_depth": DEPTH, "background_width": WIDTH, "cascades": cascades}
    field = NeuSField(**SMALL, background=True, **shape)  # type: ignore[arg-type]
    field.set_aabb(torch.tensor([[-1.0] * 3, [1.0] * 3]) * half * 2 ** (cascades - 1))
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return field.eval()


def published_outside(state: State, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Density and colour of NeRF++: direction and 1 / r, ten octaves, the input once more after the fifth layer."""
    radius = x.norm(dim=1, keepdim=True).clip(1.0, 1e10)
    encoded = waves(torch.cat([x / radius, 1.0 / radius], 1), 10)

    def layer(name: str, values: Tensor) -> Tensor:
        return values @ state[f"outside.{name}.weight"].T + state[f"outside.{name}.bias"]

    h = encoded
    for number in range(DEPTH):
        h = layer(f"pts_linears.{number}", h).clamp(min=0)
        if number == 4:
            h = torch.cat([encoded, h], 1)
    density = layer("alpha_linear", h)[:, 0]
    h = layer("views_linears.0", torch.cat([layer("feature_linear", h), waves(d, 4)], 1)).clamp(min=0)
    return torch.log1p(torch.exp(density)), 1 / (1 + torch.exp(-layer("rgb_linear", h)))


def published_picture(field: NeuSField, origins: Tensor, d: Tensor, z: Tensor, behind: Tensor) -> Tensor:
    """The renderer of NeuS for rays with sections z (R, S + 1): inside the unit sphere the surface, else NeRF++."""
    state = {name: value.detach() for name, value in field.state_dict().items()}
    lengths, middles = z[:, 1:] - z[:, :-1], (z[:, 1:] + z[:, :-1]) / 2
    x = (origins[:, None] + d[:, None] * middles[..., None]).reshape(-1, 3).requires_grad_()
    views = d[:, None].expand(-1, middles.shape[1], 3).reshape(-1, 3)
    out = published_sdf(state, x, 4, 2)
    (gradients,) = torch.autograd.grad(out[:, 0].sum(), x)
    inv_s = math.exp(10 * float(state["deviation_network.variance"]))
    alpha = published_alpha(out[:, 0], (views * gradients).sum(1), lengths.reshape(-1), inv_s, 1.0)
    color = published_color(state, x, views, gradients, out[:, 1:], 2)
    density, outer = published_outside(state, x, views)
    inside = (x.norm(dim=1) < 1.0).double()
    alpha = alpha * inside + (1 - torch.exp(-density * lengths.reshape(-1))) * (1 - inside)
    color = color * inside[:, None] + outer * (1 - inside[:, None])
    alpha = alpha.view(middles.shape)
    before = torch.cumprod(torch.cat([torch.ones(len(d), 1).double(), 1 - alpha + 1e-7], 1), 1)[:, :-1]
    weights = alpha * before
    found: Tensor = (weights[..., None] * color.view(*alpha.shape, 3)).sum(1) + (
        1 - weights.sum(1, keepdim=True)
    ) * behind
    return found


def test_a_picture_is_that_of_the_publication() -> None:
    field = surrounded().double()
    field.set_sharpness(4.5)
    generator = torch.Generator().manual_seed(1)
    d = torch.nn.functional.normalize(torch.randn(30, 3, generator=generator).double(), dim=1)
    aside = torch.linalg.cross(d, d.roll(1, 0))
    origins = -1.8 * d + 0.9 * torch.rand(30, 1, generator=generator).double() * aside
    z = torch.cat([torch.linspace(0.2, 3.0, 60), 3.0 + torch.linspace(0.05, 1, 12) ** 3 * 12]).double().expand(30, -1)
    middles, lengths = (z[:, 1:] + z[:, :-1]) / 2, z[:, 1:] - z[:, :-1]
    count = middles.shape[1]
    x = (origins[:, None] + d[:, None] * middles[..., None]).reshape(-1, 3)
    rays = Rays(origins, d, z[:, 0], z[:, -1], d)
    offsets = torch.arange(31) * count
    rows = torch.arange(30).repeat_interleave(count)
    samples = Samples(x, middles.reshape(-1), lengths.reshape(-1), rows, offsets)
    behind = torch.tensor([0.2, 0.5, 0.9]).double()
    found = render(field.shade, rays, samples, behind)
    wanted = published_picture(field, origins, d, z, behind)
    torch.testing.assert_close(found.rgb, wanted, atol=3e-4, rtol=0)
    beyond = x.norm(dim=1) >= 1
    assert 0.2 < float(beyond.double().mean()) < 0.9 and float(found.opacity.detach().min()) > 0.1
    assert found.shade is not None and found.shade.normals is not None
    assert not found.shade.normals[beyond].any() and found.shade.normals[~beyond].any(1).all()
    assert len(found.shade.geometry.gradients) == int((~beyond).sum())  # type: ignore[attr-defined]


def test_names_and_sizes_are_those_of_the_published_background() -> None:
    field = NeuSField(background=True)
    assert field.outside is not None
    assert sum(p.numel() for p in field.outside.parameters()) == 606_596
    assert "outside.pts_linears.5.weight" in field.state_dict()
    assert "background" not in NeuSField().arguments and "cascades" not in NeuSField().arguments


def test_the_sphere_lies_in_the_innermost_of_nested_cubes() -> None:
    near, wide, large = surrounded(), surrounded(cascades=4), surrounded(cascades=4, half=3.0)
    generator = torch.Generator().manual_seed(2)
    x = (torch.rand(200, 3, generator=generator) - 0.5) * 8
    x[:100] /= 8
    d, dt = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator), dim=1), torch.full((200,), 0.05)
    one, other, scaled = near.shade(x, d, dt), wide.shade(x, d, dt), large.shade(3 * x, d, 3 * dt)
    for part in ("alpha", "rgb", "normals"):
        torch.testing.assert_close(getattr(other, part), getattr(one, part))
        torch.testing.assert_close(getattr(scaled, part), getattr(one, part), atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(wide.surface_box, torch.tensor([[-1.0] * 3, [1.0] * 3]))


def test_what_is_cheap_to_know_agrees_with_what_is_shown() -> None:
    field, generator = surrounded(), torch.Generator().manual_seed(2)
    x = torch.randn(300, 3, generator=generator)
    d, dt = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=1), torch.full((300,), 0.01)
    shown = field.shade(x, d, dt).alpha
    torch.testing.assert_close(field.alpha(x, d, dt), shown, atol=2e-3, rtol=0.02)
    beyond = field.radius(x) >= 1.02
    assert 50 < int(beyond.sum()) < 280
    torch.testing.assert_close(field.peak_alpha(x, dt)[beyond], shown[beyond])


def test_a_mesh_ends_at_the_sphere() -> None:
    scene = TinyReader(size=40).read("train")
    field = surrounded(cascades=3)
    with torch.no_grad():
        field.sdf_network.layers[-1].bias[0] -= 0.5  # solid up to beyond the sphere
    sampler = OccupancySampler(resolution=16, cascades=3)
    sampler.prepare(field.aabb)
    trained = SurfaceArtifact(field=field, sampler=sampler, scene=SceneInfo.from_scene(scene._replace(aabb=field.aabb)))
    mesh = field_mesh(trained, MeshOptions(32))
    radius = torch.from_numpy(mesh.vertices).norm(dim=1)
    assert float(radius.max()) < 1.01 and float((radius > 0.98).double().mean()) > 0.2


def test_folded_weights_keep_the_surroundings() -> None:
    field = surrounded(cascades=2)
    plain = field.folded()
    x, d, dt = 2 * torch.randn(50, 3), torch.nn.functional.normalize(torch.randn(50, 3), dim=1), torch.full((50,), 0.1)
    torch.testing.assert_close(plain.shade(x, d, dt).rgb, field.shade(x, d, dt).rgb, atol=1e-5, rtol=1e-4)
    assert plain.cascades == 2


def test_impossible_nesting_is_refused() -> None:
    with pytest.raises(ValueError, match="cascades must lie between 1 and 8"):
        NeuSField(background=True, cascades=9)
