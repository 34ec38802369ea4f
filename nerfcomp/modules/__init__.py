"""LightningModules: one training stage each."""

from nerfcomp.modules.base import FieldModule
from nerfcomp.modules.nerf import NeRFModule

__all__ = ["FieldModule", "NeRFModule"]
