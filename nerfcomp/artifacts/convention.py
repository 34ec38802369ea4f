"""Along which rays a field is evaluated: those of its training, whoever reads the scene.

A field knows the frame of its scene: box, distances, normalised device coordinates, and whether the ray of a pixel goes
through its centre (as ours do) or its corner (as nerf-pytorch's and nerf_pl's do). A reader may see the same scene with
other distances, or through other points of the pixels; half a pixel costs a good field several dB.
"""

import torch
from torch import Tensor

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import Camera
from nerfcomp.geometry.rays import Rays, camera_rays
from nerfcomp.readers.scene import Scene

_PLACES = (0.1, 0.5, 0.9)  # of height and width, where rays probe whether a camera sees the box


def as_trained(scene: Scene, known: SceneInfo) -> Scene:
    """The same views, in the box, between the distances and along the rays of a field's training.

    Args:
        scene: Views, at any size.
        known: What the field knows of its scene.

    Raises:
        SceneError: One is in normalised device coordinates and the other is not.
    """
    if scene.ndc != known.ndc:
        raise SceneError(
            f"The field was trained with ndc={known.ndc}, the scene is read with ndc={scene.ndc}. Give the "
            "reader of its training."
        )
    camera = ray_camera(scene.camera, known, scene.pixel_centers)
    aabb = torch.tensor(known.aabb, device=scene.aabb.device)
    return scene._replace(camera=camera, near=known.near, far=known.far, aabb=aabb, pixel_centers=known.pixel_centers)


def ray_camera(camera: Camera, known: SceneInfo, pixel_centers: bool = True) -> Camera:
    """The camera along whose rays a field shows what another camera sees.

    Args:
        camera: The other camera, at any size.
        known: What the field knows of its scene.
        pixel_centers: Whether the rays of ``camera`` go through the centres of pixels.
    """
    if pixel_centers == known.pixel_centers:
        return camera
    pixels = 0.5 if pixel_centers else -0.5  # of the size that the field was trained at
    fx, fy = (camera.intrinsics[0, :2] / camera.intrinsics.new_tensor(known.intrinsics[:2])).tolist()
    return camera._replace(
        intrinsics=camera.intrinsics + camera.intrinsics.new_tensor([0, 0, pixels * fx, pixels * fy])
    )


def continued(scene: Scene, known: SceneInfo) -> Scene:
    """`as_trained`, for a field whose training goes on with these views.

    Raises:
        SceneError: See `as_trained`; or most cameras do not see the box of the field.
    """
    found, seeing = as_trained(scene, known), views_into_box(scene, known)
    if 2 * seeing < len(scene.names):
        low, high = ([round(value, 3) for value in corner] for corner in known.aabb)
        raise SceneError(
            f"Only {seeing} of {len(scene.names)} cameras look into the box of the field, {low} to {high}, between the "
            f"distances {known.near:g} and {known.far:g}: this scene has another frame or size than that of its "
            "training. Give the reader of its training, or start without init_from."
        )
    return found


def views_into_box(scene: Scene, known: SceneInfo) -> int:
    """How many views look into the box of a field, between the distances of its training."""
    return int(_sees_box(as_trained(scene, known)).sum())


def _sees_box(scene: Scene) -> Tensor:
    """(C,) bool, views of which some ray passes the box between near and far."""
    camera, count = scene.camera, len(_PLACES) ** 2
    y, x = torch.cartesian_prod(torch.tensor(_PLACES), torch.tensor(_PLACES)).unbind(1)
    views = torch.arange(len(camera.c2w)).repeat_interleave(count)
    x, y = (x * (camera.width - 1)).repeat(len(camera.c2w)), (y * (camera.height - 1)).repeat(len(camera.c2w))
    rays = camera_rays(camera, views, x, y, scene.near, scene.far, scene.ndc)
    return _enters(rays, scene.aabb).view(-1, count).any(1)


def _enters(rays: Rays, aabb: Tensor) -> Tensor:
    """(N,) bool, whether N rays pass a box between their near and far."""
    direction = torch.where(rays.directions.abs() < 1e-9, 1e-9, rays.directions)
    first, second = (aabb[0] - rays.origins) / direction, (aabb[1] - rays.origins) / direction
    enter = torch.minimum(first, second).amax(1).clamp(min=rays.near[:, 0])
    leave = torch.maximum(first, second).amin(1).clamp(max=rays.far[:, 0])
    return enter < leave
