"""Fields: modules from coordinates to density and colour."""

from nerfcomp.fields.base import Field, RadianceField, Shade, density_to_alpha
from nerfcomp.fields.block_points import Bounds
from nerfcomp.fields.build import build_field, describe_field, field_cost, planned_field
from nerfcomp.fields.described_integers import INTEGERS_KEY, describe_integers, take_integers
from nerfcomp.fields.encodings import Frequency, HashGrid, SphericalHarmonics
from nerfcomp.fields.feature_grid import FeatureGrid, LatentGridVolume
from nerfcomp.fields.hash_surface import HashSurfaceField
from nerfcomp.fields.integer import IntegerLayer, integer_layers, put_integer_layers
from nerfcomp.fields.light_field import LightField
from nerfcomp.fields.mlp import MLP
from nerfcomp.fields.nerf import NeRFField, VanillaNeRF
from nerfcomp.fields.neus import NeuSField
from nerfcomp.fields.ngp import NGPField
from nerfcomp.fields.surface import SurfaceField
from nerfcomp.fields.volume import HashVolume, VolumeField
from nerfcomp.fields.wavelet_volume import WaveletVolume

__all__ = [
    "Bounds",
    "FeatureGrid",
    "Field",
    "MLP",
    "Frequency",
    "HashGrid",
    "HashSurfaceField",
    "INTEGERS_KEY",
    "IntegerLayer",
    "HashVolume",
    "LatentGridVolume",
    "LightField",
    "NGPField",
    "NeRFField",
    "NeuSField",
    "RadianceField",
    "Shade",
    "SphericalHarmonics",
    "SurfaceField",
    "VanillaNeRF",
    "VolumeField",
    "WaveletVolume",
    "build_field",
    "density_to_alpha",
    "describe_field",
    "describe_integers",
    "field_cost",
    "integer_layers",
    "planned_field",
    "put_integer_layers",
    "take_integers",
]
