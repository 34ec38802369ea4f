"""Scenes and volumes from disk or from a recipe, each into one ``Scene`` or ``Volume``."""

from nerfcomp.readers.blender import BlenderReader
from nerfcomp.readers.blender_writer import write_blender
from nerfcomp.readers.colmap import COLMAPReader
from nerfcomp.readers.dtu import DTUReader
from nerfcomp.readers.llff import LLFFReader
from nerfcomp.readers.polycam import PolycamReader
from nerfcomp.readers.procedural import ProceduralReader
from nerfcomp.readers.procedural_volume import ProceduralVolume
from nerfcomp.readers.pseudo import PseudoReader
from nerfcomp.readers.scene import Scene, SceneReader, Split
from nerfcomp.readers.transforms import TransformsReader
from nerfcomp.readers.video_paths import PathKind
from nerfcomp.readers.volume import ValueRange, Volume, VolumeReader, slabs, stored_slabs, value_range
from nerfcomp.readers.volume_files import VolumeHints, volume_reader

__all__ = [
    "BlenderReader",
    "COLMAPReader",
    "DTUReader",
    "LLFFReader",
    "PathKind",
    "PolycamReader",
    "ProceduralReader",
    "ProceduralVolume",
    "PseudoReader",
    "Scene",
    "SceneReader",
    "Split",
    "TransformsReader",
    "ValueRange",
    "Volume",
    "VolumeHints",
    "VolumeReader",
    "slabs",
    "stored_slabs",
    "value_range",
    "volume_reader",
    "write_blender",
]
