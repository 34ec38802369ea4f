"""Data as Lightning wants it: what to draw, how much at a time, on which process."""

from nerfcomp.datamodules.base import SceneDataModule
from nerfcomp.datamodules.poses import CameraBoxPoses, PosesBetween, PoseSource, SphericalPoses
from nerfcomp.datamodules.rays import RayDataModule
from nerfcomp.datamodules.teacher import PoseDataModule
from nerfcomp.datamodules.views import PseudoDataModule, TeacherDataModule, ViewDataModule
from nerfcomp.datamodules.volume import VolumeDataModule

__all__ = [
    "CameraBoxPoses",
    "PoseDataModule",
    "PoseSource",
    "PosesBetween",
    "PseudoDataModule",
    "RayDataModule",
    "SceneDataModule",
    "SphericalPoses",
    "TeacherDataModule",
    "ViewDataModule",
    "VolumeDataModule",
]
