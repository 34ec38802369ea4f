"""Train, compress, decode and render neural fields. What is named here is loaded when it is asked for."""

from typing import TYPE_CHECKING

from nerfcomp.lazy import lazy_names

if TYPE_CHECKING:
    from nerfcomp.api import decode, encode, load
    from nerfcomp.geometry.cameras import Camera, make_camera, select_views

__version__ = "0.1.0"
__all__ = ["Camera", "decode", "encode", "load", "make_camera", "select_views"]

__getattr__ = lazy_names(
    __name__, {"api": ["decode", "encode", "load"], "geometry.cameras": ["Camera", "make_camera", "select_views"]}
)
