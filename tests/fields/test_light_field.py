from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nerfcomp.errors import ContainerError
from nerfcomp.fields import Bounds, LightField, build_field, describe_field
from nerfcomp.fields.batch_norm import BatchNorm
from nerfcomp.fields.block_points import block_points, points_along
from nerfcomp.fields.channels_last import Upsampling
from nerfcomp.geometry.cameras import Camera, make_camera
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.geometry.rays import camera_rays

SMALL: dict[str, Any] = {
    "points_per_ray": 3, "octaves": 2, "width": 12, "n_blocks": 2, "factors": (2, 3), "kernels": (4, 3),
    "tail_widths": (8, 6), "tail_blocks": (1, 2),
}  # fmt: skip


def camera(height: int = 13, width: int = 20, views: int = 2, lens: bool = False) -> Camera:
    distortion = (0.05, -0.01, 0.002, 0.001) if lens else (0.0, 0.0, 0.0, 0.0)
    poses = spherical_path(views, 4.0, 0.5)
    return make_camera(poses, height, width, (18.0, 17.0), (9.0, 7.0), distortion)


def shaken(**changes: Any) -> LightField:
    """A small light field whose normalisations have seen something."""
    field = LightField(**{**SMALL, **changes})
    for module in field.modules():
        if isinstance(module, BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return field.eval()


@pytest.mark.parametrize(
    ("arguments", "count"),
    [({}, 4_305_539), ({"factors": (2, 2, 3), "kernels": (4, 4, 3)}, 4_298_371)],
    ids=["blender", "llff"],
)
def test_defaults_are_mobile_r2l(arguments: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        field = LightField(**arguments)
    assert sum(parameter.numel() for parameter in field.parameters()) == count


@pytest.mark.parametrize("size", [(12, 18), (13, 20), (1, 1)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    field = shaken()
    with torch.no_grad():
        pictures = field.draw(camera(*size), Bounds(2.0, 6.0))
    assert pictures.shape == (2, *size, 3) and field.factor == 6
    assert 0 <= pictures.min() and pictures.max() <= 1


def test_pixels_do_not_depend_on_the_rest_of_the_picture() -> None:
    field = shaken(kernels=(2, 3))
    with torch.no_grad():
        whole = field.draw(camera(12, 18), Bounds(2.0, 6.0))
        part = field.draw(camera(6, 12), Bounds(2.0, 6.0))  # the same principal point: the upper left part
    assert torch.allclose(whole[:, :6, :12], part, atol=1e-6)


@pytest.mark.parametrize("lens", [False, True])
def test_points_lie_on_rays_through_the_middles_of_blocks(lens: bool) -> None:
    views, factor = camera(lens=lens), 4
    points = block_points(views, factor, 5, Bounds(2.0, 6.0))
    assert points.shape == (2, 4, 5, 15)
    for view, row, column in ((0, 0, 0), (1, 2, 3), (1, 3, 4)):
        x, y = (torch.tensor([block * factor + 1.5]) for block in (column, row))
        ray = camera_rays(views, torch.tensor([view]), x, y, near=2.0, far=6.0)
        t = torch.tensor([2.4, 3.2, 4.0, 4.8, 5.6])
        expected = ray.origins + ray.directions * t[:, None]
        assert torch.allclose(points[view, row, column].view(5, 3), expected, atol=1e-5)


def test_points_in_ndc_lie_on_ndc_rays() -> None:
    poses = torch.eye(3, 4).repeat(2, 1, 1)
    poses[1, :, 3] = torch.tensor([0.1, -0.2, 0.05])
    views = make_camera(poses, 8, 12, 9.0)
    points = block_points(views, 4, 4, Bounds(0.0, 1.0, (12 / 18, 8 / 18)))
    ray = camera_rays(views, torch.tensor([1]), torch.tensor([5.5]), torch.tensor([1.5]), 0.0, 1.0, ndc=True)
    t = ray.near + (ray.far - ray.near) * torch.tensor([0.125, 0.375, 0.625, 0.875])
    expected = ray.origins + ray.directions * t.T
    assert torch.allclose(points[1, 0, 1].view(4, 3), expected, atol=1e-5)


def test_jitter_moves_points_within_their_parts() -> None:
    middle = block_points(camera(), 4, 2, Bounds(2.0, 6.0))
    start = block_points(camera(), 4, 2, Bounds(2.0, 6.0), torch.zeros(2))
    end = block_points(camera(), 4, 2, Bounds(2.0, 6.0), torch.ones(2))
    assert torch.allclose((start + end) / 2, middle, atol=1e-5)
    assert torch.allclose(end[..., :3], start[..., 3:], atol=1e-5)


def test_each_view_has_its_own_intrinsics() -> None:
    two = camera()
    two.intrinsics[1] = torch.tensor([30.0, 31.0, 8.0, 6.0])
    points = block_points(two, 4, 3, Bounds(2.0, 6.0))
    alone = block_points(Camera(*(part[1:] for part in two[:3]), 13, 20), 4, 3, Bounds(2.0, 6.0))  # type: ignore
    assert torch.allclose(points[1], alone[0], atol=1e-6)


def test_encoding_by_hand() -> None:
    field = LightField(**SMALL)
    field.set_aabb(torch.tensor([[0.0, 0.0, 0.0], [4.0, 4.0, 4.0]]))
    points = torch.full((1, 1, 1, 9), 3.0)
    points[0, 0, 0, 4] = 1.0
    x = torch.tensor([0.5, 0.5, 0.5, 0.5, -0.5, 0.5, 0.5, 0.5, 0.5])
    expected = torch.cat([x, x.sin(), x.cos(), (2 * x).sin(), (2 * x).cos()])
    assert torch.allclose(field.encode(points).flatten(), expected)


def test_forward_is_what_the_paper_draws() -> None:
    field = shaken()

    def residual(block: nn.Module, x: Tensor) -> Tensor:
        inner = nn.functional.gelu(block.norm1(block.conv1(x)))  # type: ignore[operator]
        out: Tensor = x + block.norm2(block.conv2(inner))  # type: ignore[operator]
        return out

    points = torch.randn(2, 3, 4, 9)
    start = x = nn.functional.gelu(field.head(field.encode(points)))
    x = start + residual(field.body[1], residual(field.body[0], x))
    x = residual(field.tail[0].blocks[0], field.tail[0].up(x))  # type: ignore
    x = field.tail[1].up(x)  # type: ignore
    x = residual(field.tail[1].blocks[1], residual(field.tail[1].blocks[0], x))  # type: ignore
    assert torch.allclose(field(points), field.rgb(x).sigmoid(), atol=1e-6)


def test_folded_draws_the_same() -> None:
    field = shaken(inner_widths=(5, 7, 3, 2, 1))
    twin = field.folded()
    points = torch.randn(2, 4, 4, 9)
    assert not any(isinstance(module, BatchNorm) for module in twin.modules())
    assert twin.arguments == {**field.arguments, "batch_norm": False}
    assert torch.allclose(field(points), twin(points), atol=1e-5)
    assert torch.equal(twin.folded()(points), twin(points))


@pytest.mark.parametrize("kernels", [(4, 3), (4, 7)])
def test_merged_draws_the_same_with_a_layer_less(kernels: tuple[int, int]) -> None:
    field = shaken(kernels=kernels, tail_blocks=(1, 0))
    twin, points = field.merged(), torch.randn(2, 4, 4, 9)
    assert isinstance(twin.rgb, nn.Identity) and twin.arguments["tail_widths"] == [8, 3]
    assert torch.allclose(field(points), twin(points), atol=1e-5)
    assert torch.equal(twin.merged()(points), twin(points))
    assert isinstance(build_field(describe_field(twin), [LightField]), LightField)


def test_stages_with_blocks_are_not_merged() -> None:
    field = shaken()
    assert field.merged().arguments == field.folded().arguments


def test_colours_need_three_channels() -> None:
    with pytest.raises(ValueError, match="width 3 and no blocks"):
        LightField(**SMALL, rgb_layer=False)


def test_description_rebuilds_explicit_widths() -> None:
    field = LightField(**SMALL, inner_widths=(5, 7, 3, 2, 1))
    twin = build_field(describe_field(field), [LightField])
    assert isinstance(twin, LightField)
    twin.load_state_dict(field.state_dict())
    assert [block.conv1.out_channels for block in twin.residuals] == [5, 7, 3, 2, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"points_per_ray": 0},
        {"octaves": -1},
        {"octaves": 99},
        {"width": 2.5},
        {"n_blocks": 10**6},
        {"factors": (2, 0)},
        {"factors": (16, 16)},
        {"factors": (2,)},
        {"kernels": (3, 3)},
        {"kernels": (1, 3)},
        {"tail_widths": (8, -6)},
        {"tail_widths": (8, 10**9)},
        {"inner_widths": (1, 2)},
        {"inner_widths": (1, 2, 3, 4, 0)},
        {"factors": (), "kernels": (), "tail_widths": (), "tail_blocks": ()},
    ],
)
def test_impossible_networks_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        LightField(**{**SMALL, **changes})
    description = describe_field(LightField(**SMALL))
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in changes.items()}
    with pytest.raises(ContainerError):
        build_field(description._replace(init_args={**description.init_args, **lists}), [LightField])


def test_gradients_reach_every_weight() -> None:
    field = LightField(**SMALL).train()
    field.draw(camera(), Bounds(2.0, 6.0), torch.rand(3)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in field.named_parameters() if "conv" not in n)


def test_points_of_one_direction_serve_all_views() -> None:
    directions = torch.randn(1, 6, 3)
    poses = spherical_path(3, 2.0)
    together = points_along(poses, directions, torch.tensor([0.0, 1.0]), Bounds(1.0, 3.0))
    alone = points_along(poses[2:], directions, torch.tensor([0.0, 1.0]), Bounds(1.0, 3.0))
    assert together.shape == (3, 6, 6) and torch.allclose(together[2], alone[0])


@pytest.mark.parametrize("kernel", [3, 5])
def test_upsampling_is_a_transposed_convolution(kernel: int) -> None:
    torch.manual_seed(0)
    layer, x = Upsampling(5, 2, 3, kernel).double(), torch.randn(2, 4, 6, 5, dtype=torch.float64)
    expected = torch.nn.functional.conv_transpose2d(x.movedim(-1, 1), layer.weight, layer.bias, 3, (kernel - 3) // 2)
    torch.testing.assert_close(layer(x), expected.movedim(1, -1))
