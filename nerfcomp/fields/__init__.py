"""Fields: modules from coordinates to density and colour."""

from nerfcomp.fields.base import RadianceField, Shade, density_to_alpha
from nerfcomp.fields.build import build_field, describe_field
from nerfcomp.fields.encodings import Frequency, HashGrid, SphericalHarmonics
from nerfcomp.fields.mlp import MLP
from nerfcomp.fields.nerf import NeRFField, VanillaNeRF
from nerfcomp.fields.ngp import NGPField

__all__ = [
    "MLP",
    "Frequency",
    "HashGrid",
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
