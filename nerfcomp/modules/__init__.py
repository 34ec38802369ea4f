"""LightningModules: one training stage each."""

from nerfcomp.modules.base import FieldModule
from nerfcomp.modules.light_field import LightFieldModule
from nerfcomp.modules.lsa import LSAModule
from nerfcomp.modules.radiance_field import RadianceFieldModule
from nerfcomp.modules.surface import SurfaceModule
from nerfcomp.modules.teacher import TeacherModule
from nerfcomp.modules.vanilla_nerf import VanillaNeRFModule
from nerfcomp.modules.volume import VolumeModule

__all__ = [
    "FieldModule",
    "LSAModule",
    "RadianceFieldModule",
    "LightFieldModule",
    "SurfaceModule",
    "TeacherModule",
    "VanillaNeRFModule",
    "VolumeModule",
]
