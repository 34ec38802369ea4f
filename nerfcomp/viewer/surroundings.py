"""What a page must know to move around a scene: its views, where it is, which way is up."""

import math
from typing import Any

import torch

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.readers.alignment import focus_point


def surroundings(scene: SceneInfo) -> dict[str, Any]:
    """JSON values: poses, size, field of view in degrees, the point to turn about, and up.

    Args:
        scene: What a model knows of its scene.
    """
    poses = scene.camera.c2w.double()
    point = focus_point(poses)
    if point is None:
        ahead = float(torch.tensor(scene.aabb).diff(dim=0).max()) / 2
        point = poses[0, :, 3] - ahead * poses[0, :, 2]
    up = poses[:, :, 1].mean(0)
    up = poses.new_tensor([0.0, 0.0, 1.0]) if float(up[2]) > 0.3 * float(up.norm()) else up
    return {
        "poses": [pose.flatten().tolist() for pose in poses],
        "width": scene.width,
        "height": scene.height,
        "fov": math.degrees(2 * math.atan(scene.height / 2 / scene.intrinsics[1])),
        "center": point.tolist(),
        "up": (up / up.norm().clamp_min(1e-9)).tolist(),
    }
