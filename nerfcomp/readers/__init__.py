"""Scenes from disk or from a recipe, each into one ``Scene``."""

from nerfcomp.readers.blender import BlenderReader
from nerfcomp.readers.blender_writer import write_blender
from nerfcomp.readers.llff import LLFFReader
from nerfcomp.readers.procedural import ProceduralReader
from nerfcomp.readers.pseudo import PseudoReader
from nerfcomp.readers.scene import PathKind, Scene, SceneReader, Split
from nerfcomp.readers.transforms import TransformsReader

__all__ = [
    "BlenderReader",
    "LLFFReader",
    "PathKind",
    "ProceduralReader",
    "PseudoReader",
    "Scene",
    "SceneReader",
    "Split",
    "TransformsReader",
    "write_blender",
]
