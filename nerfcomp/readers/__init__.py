"""Scenes from disk or from a recipe, each into one ``Scene``."""

from nerfcomp.readers.scene import PathKind, Scene, SceneReader, Split
