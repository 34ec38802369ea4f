"""Rays that leave cameras, in the world or in normalised device coordinates.

Cameras and their conventions are those of ``nerfcomp.geometry.cameras``. ``C`` views, ``N`` rays.
Directions have unit length, so that ``t``, ``near`` and ``far`` are Euclidean distances along a ray.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfcomp.geometry.cameras import Camera, pixel_directions

_PARALLEL = 1e-6  # a ray whose -z component is smaller never reaches the near plane of the NDC frustum


class Rays(NamedTuple):
    """Half lines to march.

    Attributes:
        origins: (N, 3) start points in the space that is marched (world, or NDC for forward-facing scenes).
        directions: (N, 3) unit length, same space.
        near: (N, 1) distance along ``directions`` where the march begins.
        far: (N, 1) distance along ``directions`` where the march ends; ``far <= near`` marks a ray that sees nothing.
        viewdirs: (N, 3) unit length, always in the world frame; equals ``directions`` outside NDC.
    """

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    viewdirs: Tensor


class RayBatch(NamedTuple):
    """What a datamodule hands to a module.

    Attributes:
        rays: N rays.
        rgb: (N, 3) float32 in [0, 1], the true colours already laid over ``background``.
        background: (N, 3) float32 in [0, 1].
        height: Rows of the image when the rays are one whole image in row-major order, else 0.
        width: Columns of that image, else 0.
        name: File name of that image, else empty.
        camera: The one view of that image, for fields that draw it as a whole.
        alpha: (N,) in [0, 1], opacity of the pixels, where images have it.
    """

    rays: Rays
    rgb: Tensor
    background: Tensor
    height: int = 0
    width: int = 0
    name: str = ""
    camera: Camera | None = None
    alpha: Tensor | None = None


class ViewBatch(NamedTuple):
    """Whole views that a datamodule hands to a module.

    Attributes:
        camera: B views.
        rgb: (B, H, W, 3) uint8, over the background of the scene.
    """

    camera: Camera
    rgb: Tensor


class Lenses(NamedTuple):
    """What the lenses of several views have in common.

    Attributes:
        distorted: Some of them distort.
        alike: They are all the same.
    """

    distorted: bool
    alike: bool


def lenses_of(camera: Camera) -> Lenses:
    """Look at the lenses of a camera.

    >>> from nerfcomp.geometry.cameras import make_camera
    >>> lenses_of(make_camera(torch.eye(3, 4), height=4, width=6, focal=2.0))
    Lenses(distorted=False, alike=True)
    """
    distortion = camera.distortion
    return Lenses(bool(distortion.any()), not bool((distortion != distortion[:1]).any()))


def camera_rays(
    camera: Camera,
    view_index: Tensor,
    pixel_x: Tensor,
    pixel_y: Tensor,
    near: float,
    far: float,
    ndc: bool = False,
    lenses: Lenses | None = None,
) -> Rays:
    """Make one ray per (view, pixel).

    Args:
        camera: C views.
        view_index: (N,) integers in [0, C).
        pixel_x: (N,) columns, whole or fractional.
        pixel_y: (N,) rows, whole or fractional.
        near: Where the march begins: world units, or with ``ndc`` the fraction of the way to infinity (0 at z = -1).
        far: Where the march ends: world units, or with ``ndc`` that fraction (1 at infinity).
        ndc: Map origins and directions to normalised device coordinates, see :func:`ndc_rays`. The frustum is that of
            view 0, as all views of one scene must share one mapping.
        lenses: `lenses_of` the camera, where the caller keeps them: asking a GPU means waiting for it.

    Returns:
        N rays, float32.

    Example:
        >>> from nerfcomp.geometry.cameras import make_camera
        >>> camera = make_camera(torch.eye(3, 4), height=4, width=6, focal=2.0)
        >>> middle = camera_rays(camera, torch.tensor([0]), torch.tensor([2.5]), torch.tensor([1.5]), near=2, far=6)
        >>> middle.directions, middle.far
        (tensor([[ 0.,  0., -1.]]), tensor([[6.]]))
    """
    lenses = lenses or lenses_of(camera)
    distortion = camera.distortion[:1]  # one lens for all rays is undone faster than one per ray
    if not lenses.alike:
        distortion = camera.distortion.index_select(0, view_index)
    intrinsics = camera.intrinsics.index_select(0, view_index)
    local = pixel_directions(intrinsics, distortion, pixel_x, pixel_y, lenses.distorted)
    # whole poses are gathered at once and columns scaled: several times faster than batched 3x3 products
    c2w = camera.c2w.reshape(-1, 12).index_select(0, view_index).view(-1, 3, 4)
    x, y = local[:, 0, None], local[:, 1, None]
    directions = torch.addcmul(torch.addcmul(-c2w[:, :, 2], c2w[:, :, 0], x), c2w[:, :, 1], y)
    return _bounded(camera, c2w[:, :, 3].contiguous(), normalize(directions, dim=-1), near, far, ndc)


def image_rays(camera: Camera, view: int, near: float, far: float, ndc: bool = False) -> Rays:
    """Make the rays of one whole view.

    Args:
        camera: C views.
        view: Index in [0, C).
        near: As for :func:`camera_rays`.
        far: As for :func:`camera_rays`.
        ndc: As for :func:`camera_rays`.

    Returns:
        H * W rays in row-major order.
    """
    like = camera.c2w
    rows = torch.arange(camera.height, device=like.device, dtype=like.dtype).repeat_interleave(camera.width)
    columns = torch.arange(camera.width, device=like.device, dtype=like.dtype).repeat(camera.height)
    local = pixel_directions(camera.intrinsics[view, None], camera.distortion[view, None], columns, rows)
    directions = normalize(local @ camera.c2w[view, :, :3].T, dim=-1)
    origins = camera.c2w[view, :, 3].repeat(len(directions), 1)
    return _bounded(camera, origins, directions, near, far, ndc)


def ray_starts(camera: Camera, ndc: bool = False) -> Tensor:
    """Box around where the rays of all views start.

    Args:
        camera: C views.
        ndc: As for :func:`camera_rays`; rays then start on the near plane.

    Returns:
        (2, 3) least and largest coordinates, on the CPU.

    Example:
        >>> from nerfcomp.geometry.cameras import make_camera
        >>> camera = make_camera(torch.eye(3, 4), height=4, width=6, focal=2.0)
        >>> ray_starts(camera).tolist(), ray_starts(camera, ndc=True).tolist()
        ([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[-1.0, -1.0, -1.0], [1.0, 1.0, -1.0]])
    """
    starts = camera.c2w[:, :, 3]
    if ndc:  # where lenses are straight or invertible, the outermost rays run along the border of a picture
        x, y = torch.arange(camera.width + 1) - 0.5, torch.arange(camera.height + 1) - 0.5
        columns = torch.cat([x, x, x[:1].expand(len(y)), x[-1:].expand(len(y))]).to(starts)
        rows = torch.cat([y[:1].expand(len(x)), y[-1:].expand(len(x)), y, y]).to(starts)
        views = torch.arange(len(starts), device=starts.device).repeat_interleave(len(columns))
        border = columns.repeat(len(starts)), rows.repeat(len(starts))
        starts = camera_rays(camera, views, *border, near=0, far=1, ndc=True).origins
    return torch.stack([starts.amin(0), starts.amax(0)]).cpu()


def turned_directions(directions: Tensor, noise: Tensor, angle: float) -> Tensor:
    """Turn directions by random angles.

    Args:
        directions: (N, 3) unit length.
        noise: (N, 3) normal random numbers of variance 1.
        angle: Root mean square of the angles for small ones, radians. Large angles stay below a right one.

    Returns:
        (N, 3) unit length.

    Example:
        >>> turned_directions(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]]), 2**0.5 * 0.75)
        tensor([[0.6000, 0.0000, 0.8000]])
    """
    across = noise - (noise * directions).sum(1, keepdim=True) * directions
    return normalize(directions + angle / math.sqrt(2) * across, dim=1)


def begun_later(rays: Rays, center: Tensor, share: float) -> Rays:
    """Let rays begin no nearer than a share of the camera's distance to a point.

    Where few views overlap, a field explains each of them by a cloud of its own in front of its camera. Rays that begin
    far from the camera at first, nearer step by step, leave it no room until places that several views see are
    explained (Niemeyer et al., "RegNeRF" (2022), "sample space annealing", which brings ``far`` nearer, too).

    Args:
        rays: N rays.
        center: (3,) what the cameras look at.
        share: Of the distance from a ray's origin to it, from 0.

    Returns:
        The same rays, which begin there where that is farther than ``near``.

    Example:
        >>> axis = torch.tensor([[0.0, 0.0, -1.0]])
        >>> rays = Rays(-4 * axis, axis, torch.tensor([[1.0]]), torch.tensor([[8.0]]), axis)
        >>> begun_later(rays, torch.zeros(3), 0.5).near, begun_later(rays, torch.zeros(3), 0.1).near
        (tensor([[2.]]), tensor([[1.]]))
    """
    distance = (rays.origins - center).norm(dim=1, keepdim=True)
    return rays._replace(near=torch.maximum(rays.near, share * distance))


def ndc_rays(
    origins: Tensor,
    directions: Tensor,
    near: float,
    far: float,
    half_width: float | Tensor,
    half_height: float | Tensor,
) -> Rays:
    """Map world rays to the normalised device coordinates of a camera at the origin that looks along -z.

    The frustum beyond the plane z = -1 becomes the cube [-1, 1]^3: z = -1 maps to -1, infinity to 1. Mildenhall et al.
    2020, "NeRF", appendix C, equations 25 and 26 with n = 1. There ``t'`` in [0, 1] spans the whole ray; here
    directions are normalised and near and far multiplied by the length of the segment, so that t stays Euclidean.

    Args:
        origins: (N, 3) world.
        directions: (N, 3) world, unit length.
        near: Fraction of the segment where the march begins, 0 for z = -1.
        far: Fraction of the segment where the march ends, 1 for infinity.
        half_width: Half the width of the image plane at unit distance: W / (2 fx).
        half_height: Half its height: H / (2 fy).

    Returns:
        N rays in NDC. A ray that does not look along -z never enters the frustum: it keeps its direction and gets
        ``near = far = 0``.

    Example:
        >>> rays = ndc_rays(torch.zeros(1, 3), torch.tensor([[0.6, 0.0, -0.8]]), 0, 1, half_width=1.5, half_height=1.0)
        >>> rays.origins, rays.directions, rays.far
        (tensor([[ 0.5000,  0.0000, -1.0000]]), tensor([[0., 0., 1.]]), tensor([[2.]]))
    """
    x, y, z = directions.unbind(-1)
    forward = z < -_PARALLEL
    depth = torch.where(forward, -z, torch.ones_like(z))
    slope_x, slope_y, drop = x / depth, y / depth, origins[:, 2] + 1
    start_x, start_y = origins[:, 0] + drop * slope_x, origins[:, 1] + drop * slope_y  # where z = -1
    span_x, span_y = (slope_x - start_x) / half_width, (slope_y - start_y) / half_height
    length = torch.sqrt(span_x * span_x + span_y * span_y + 4)
    start = torch.stack([start_x / half_width, start_y / half_height, torch.full_like(z, -1)], -1)
    unit = torch.stack([span_x / length, span_y / length, 2 / length], -1)
    unit = torch.where(forward[:, None], unit, directions)
    length = (length * forward)[:, None]
    return Rays(start, unit, near * length, far * length, directions)


def _bounded(camera: Camera, origins: Tensor, directions: Tensor, near: float, far: float, ndc: bool) -> Rays:
    """Attach bounds, through NDC when asked."""
    if ndc:
        fx, fy = camera.intrinsics[0, :2].double().unbind()  # stay where they are: asking a GPU means waiting for it
        return ndc_rays(origins, directions, near, far, camera.width / (2 * fx), camera.height / (2 * fy))
    bound = directions.new_ones(len(directions), 1)
    return Rays(origins, directions, near * bound, far * bound, directions)
