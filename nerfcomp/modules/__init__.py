"""LightningModules: one training stage each."""

from nerfcomp.modules.base import FieldModule
from nerfcomp.modules.nerf import NeRFModule
from nerfcomp.modules.teacher import TeacherModule

__all__ = ["FieldModule", "NeRFModule", "TeacherModule"]
