"""A decoded scene in a browser: pictures from any side, drawn here and served over HTTP."""

from nerfcomp.viewer.server import ViewerServer
from nerfcomp.viewer.session import Shown, Viewer

__all__ = ["Shown", "Viewer", "ViewerServer"]
