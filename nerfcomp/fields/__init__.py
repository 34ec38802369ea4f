"""Fields: modules from coordinates to density and colour."""

from nerfcomp.fields.base import Field, RadianceField, Shade, density_to_alpha
from nerfcomp.fields.block_points import Bounds
from nerfcomp.fields.build import build_field, describe_field
from nerfcomp.fields.encodings import Frequency, HashGrid, SphericalHarmonics
from nerfcomp.fields.light_field import LightField
from nerfcomp.fields.mlp import MLP
from nerfcomp.fields.nerf import NeRFField, VanillaNeRF
from nerfcomp.fields.ngp import NGPField

__all__ = [
    "Bounds",
    "Field",
    "MLP",
    "Frequency",
    "HashGrid",
    "LightField",
    "NGPField",
    "NeRFField",
    "RadianceField",
    "Shade",
    "SphericalHarmonics",
    "VanillaNeRF",
    "build_field",
    "density_to_alpha",
    "describe_field",
]
