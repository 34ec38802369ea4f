"""LightningModules: one training stage each."""

from nerfcomp.modules.base import FieldModule
from nerfcomp.modules.lsa import LSAModule
from nerfcomp.modules.nerf import NeRFModule
from nerfcomp.modules.r2l import R2LModule
from nerfcomp.modules.teacher import TeacherModule
from nerfcomp.modules.vanilla_nerf import VanillaNeRFModule

__all__ = ["FieldModule", "LSAModule", "NeRFModule", "R2LModule", "TeacherModule", "VanillaNeRFModule"]
