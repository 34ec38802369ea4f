"""Data as Lightning wants it: what to draw, how much at a time, on which process."""

from nerfcomp.datamodules.base import SceneDataModule
from nerfcomp.datamodules.poses import CameraBoxPoses, PosesBetween, PoseSource, SphericalPoses
from nerfcomp.datamodules.rays import RayDataModule
from nerfcomp.datamodules.teacher import PoseDataModule

__all__ = [
    "CameraBoxPoses",
    "PoseDataModule",
    "PoseSource",
    "PosesBetween",
    "RayDataModule",
    "SceneDataModule",
    "SphericalPoses",
]
