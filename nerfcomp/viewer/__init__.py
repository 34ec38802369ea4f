"""A scene in a browser: pictures within a budget, one page, one small server; a page of its own for students."""

from nerfcomp.viewer.server import ViewerServer
from nerfcomp.viewer.session import Request, Shown, Viewer
from nerfcomp.viewer.surroundings import surroundings

__all__ = ["Request", "Shown", "Viewer", "ViewerServer", "surroundings"]
