"""The viewer over HTTP: one page, and pictures that it asks for.

Only programs on this machine can connect unless a person asks for more, and then only with a token. Requests for
pictures must be JSON and name this host, which pages of other sites cannot make a browser do.
"""

import io
import json
import logging
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

import torch
from PIL import Image
from torch import Tensor

from nerfcomp.geometry.cameras import resized
from nerfcomp.geometry.checks import LARGEST
from nerfcomp.readers.alignment import check_pose
from nerfcomp.readers.camera_path import path_content
from nerfcomp.readers.video_paths import through
from nerfcomp.viewer.session import Request, Viewer
from nerfcomp.viewer.surroundings import surroundings

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LARGEST_BODY = 2**18
_LARGEST_SIDE = 4096
_MOST_CLIENTS = 256
_MOST_POSES = 1000


class ViewerServer(ThreadingHTTPServer):
    """Serves a viewer until `shutdown`.

    Args:
        viewer: What is shown.
        host: Address to listen at.
        port: Port; 0 takes a free one.

    Attributes:
        token: What a request must carry where others than this machine can connect; empty elsewhere.

    Raises:
        OSError: The port is taken, or the address is not one of this machine.
    """

    daemon_threads = True

    def __init__(self, viewer: Viewer, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), _Handler)
        self.viewer = viewer
        self.host = host
        self.token = "" if host in LOOPBACK else secrets.token_urlsafe(16)
        self.normals = [viewer.has_normals(file) for file in range(len(viewer.shown))]
        self._latest: dict[str, int] = {}
        self._guard = threading.Lock()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{self.host}:{self.server_address[1]}/" + (f"?token={self.token}" if self.token else "")

    def announce(self, client: str, number: int) -> None:
        """Note the latest request of a client; earlier ones are given up."""
        with self._guard:
            if len(self._latest) >= _MOST_CLIENTS and client not in self._latest:
                del self._latest[next(iter(self._latest))]
            self._latest[client] = max(number, self._latest.get(client, -1))

    def wants(self, client: str, number: int) -> bool:
        """Whether a client has asked for nothing newer."""
        return self._latest.get(client, -1) <= number

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, once, unless the browser has just gone."""
        logger.debug("A connection of %s ended early.", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: ViewerServer
    protocol_version = "HTTP/1.1"
    timeout = 120

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as in the library
        """Keep requests out of the terminal."""
        logger.debug(format, *args)

    def do_GET(self) -> None:
        """Hand out the page, and what it must know of the scene."""
        if not self._allowed():
            return
        path = urlsplit(self.path).path
        if path == "/":
            page = files("nerfcomp.viewer").joinpath("page.html").read_bytes()
            self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8")
        elif path == "/scene":
            self._json(scene_content(self.server))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"There is no page {path}.")

    def do_POST(self) -> None:
        """Draw a picture, or make a path of poses."""
        if not self._allowed():
            return
        kind, length = self.headers.get_content_type(), self.headers.get("Content-Length", "")
        if kind != "application/json" or not length.isascii() or not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, f"Send JSON of at most {_LARGEST_BODY} bytes.")
            return
        try:
            content = json.loads(self.rfile.read(int(length)))
            path = urlsplit(self.path).path
            answer = {"/frame": self._frame, "/path": self._path}[path]
        except (ValueError, KeyError, RecursionError):
            self._refuse(HTTPStatus.BAD_REQUEST, "Send JSON to /frame or /path.")
            return
        try:
            answer(content)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"The request cannot be understood: {error!r}.")

    def _frame(self, content: Any) -> None:
        """Draw the picture that a client waits for."""
        request = parse_request(content, len(self.server.viewer.shown))
        client, number = str(content["client"])[:64], int(content["number"])
        self.server.announce(client, number)
        picture = self.server.viewer.draw(request, lambda: self.server.wants(client, number))
        if picture is None:
            self._answer(HTTPStatus.NO_CONTENT, b"", "image/png")
            return
        buffer = io.BytesIO()
        image = Image.fromarray(picture)
        image.save(buffer, "JPEG", quality=85) if request.moving else image.save(buffer, "PNG", compress_level=1)
        self._answer(HTTPStatus.OK, buffer.getvalue(), "image/jpeg" if request.moving else "image/png")

    def _path(self, content: Any) -> None:
        """Join poses to the path of a film."""
        poses = [parse_pose(pose) for pose in content["poses"]]
        fps, seconds = float(content["fps"]), float(content["seconds"])
        if not 1 <= len(poses) <= _MOST_POSES or not 0 < fps <= 120 or not 0 < seconds <= 600:
            raise ValueError(f"1 to {_MOST_POSES} poses, fps up to 120, up to 600 seconds")
        scene = self.server.viewer.shown[0].trained.scene
        width, height = parse_size(content)
        joined = through(torch.stack(poses), max(1, round(fps * seconds)))
        home = resized(scene.camera, width, height)
        intrinsics = home.intrinsics[:1].expand(len(joined), 4)
        self._json(path_content(home._replace(c2w=joined, intrinsics=intrinsics), fps))

    def _allowed(self) -> bool:
        """Whether a request may be answered; if not, it is refused."""
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        given = self.headers.get("X-Token") or parse_qs(urlsplit(self.path).query).get("token", [""])[0]
        if not self.server.token and host not in LOOPBACK:
            self._refuse(HTTPStatus.FORBIDDEN, "This viewer answers under the address that it has printed only.")
        elif self.server.token and not secrets.compare_digest(given.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "Open the address that the viewer has printed, with its token.")
        else:
            return True
        return False

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer with a sentence; what else was sent is not read."""
        self.close_connection = True
        self._answer(status, sentence.encode("utf-8", "backslashreplace"), "text/plain; charset=utf-8")

    def _json(self, content: Any) -> None:
        """Answer with JSON."""
        self._answer(HTTPStatus.OK, json.dumps(content).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; img-src 'self' blob: data:")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def scene_content(server: ViewerServer) -> dict[str, Any]:
    """What the page must know: models, views, where the scene is and which way is up."""
    shown = server.viewer.shown
    return {
        "files": [
            {"name": each.name, "bytes": each.size, "normals": normals, "fixed": not each.trained.pixels_are_rays}
            for each, normals in zip(shown, server.normals)
        ],
        **surroundings(shown[0].trained.scene),
    }


def parse_request(content: Any, count: int) -> Request:
    """Check what a client asks for.

    Args:
        content: The JSON value that was sent.
        count: Number of models.

    Raises:
        KeyError: Something is missing.
        TypeError: Something is of the wrong type.
        ValueError: Something is out of range.
    """
    width, height = parse_size(content)
    file, channel = int(content.get("file", 0)), content.get("channel", "rgb")
    if not 0 <= file < count or channel not in ("rgb", "depth", "normals"):
        raise ValueError(f"there is no file {file}, or no channel {channel!r}")
    return Request(parse_pose(content["c2w"]), width, height, bool(content.get("moving", False)), file, channel)


def parse_size(content: Any) -> tuple[int, int]:
    """Check width and height; errors as of `parse_request`."""
    width, height = int(content["width"]), int(content["height"])
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise ValueError(f"pictures have 1 to {_LARGEST_SIDE} pixels along a side")
    return width, height


def parse_pose(values: Any) -> Tensor:
    """Check twelve numbers of a pose; errors as of `parse_request`.

    Returns:
        (3, 4) camera to world, its rotation orthonormal.
    """
    if not isinstance(values, list) or len(values) != 12:
        raise ValueError("a pose has twelve numbers")
    pose = check_pose(torch.tensor(values, dtype=torch.float64).reshape(3, 4), "a request")
    if float(pose.abs().max()) > LARGEST:
        raise ValueError(f"the pose stands farther out than {LARGEST:g}")
    return pose.float()
