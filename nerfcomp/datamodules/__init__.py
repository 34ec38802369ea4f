"""Data as Lightning wants it: what to draw, how much at a time, on which process."""

from nerfcomp.datamodules.base import SceneDataModule
from nerfcomp.datamodules.rays import RayDataModule

__all__ = ["RayDataModule", "SceneDataModule"]
