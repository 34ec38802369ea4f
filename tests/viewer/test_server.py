"""The viewer over HTTP, asked as a browser asks, and as a browser must not."""

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.geometry.cameras import resized, select_views
from nerfcomp.readers.camera_path import read_camera_path
from nerfcomp.viewer import Shown, Viewer, ViewerServer
from tests.teacher import tiny_teacher

Answer = tuple[int, bytes]


@pytest.fixture(scope="module")
def trained() -> Iterator[SceneArtifact]:
    with tiny_teacher().evaluating() as teacher:
        yield teacher


@pytest.fixture
def server(trained: SceneArtifact) -> Iterator[ViewerServer]:
    with ViewerServer(Viewer([Shown("tiny.nfc", trained, 1234)])) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def ask(server: ViewerServer, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, data, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def frame(trained: SceneArtifact, **changes: Any) -> dict[str, Any]:
    pose = trained.scene.poses[0]
    return {"client": "a", "number": 1, "c2w": list(pose), "width": 20, "height": 12, "moving": False, **changes}


def pixels(data: bytes) -> npt.NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int64)


def drawn(trained: SceneArtifact, width: int, height: int) -> npt.NDArray[np.int64]:
    camera = resized(select_views(trained.scene.camera, [0]), width, height)
    rgb = trained.draw(camera).rgb.reshape(height, width, 3)
    return (255 * rgb.clamp(0, 1)).round().numpy().astype(np.int64)


def test_a_standing_camera_gets_what_the_renderer_draws(server: ViewerServer, trained: SceneArtifact) -> None:
    status, data = ask(server, "POST", "/frame", frame(trained, width=200, height=120))  # in more than one band
    assert status == 200
    assert np.abs(pixels(data) - drawn(trained, 200, 120)).max() <= 1


def test_a_moving_camera_gets_what_there_is_time_for(server: ViewerServer, trained: SceneArtifact) -> None:
    first = pixels(ask(server, "POST", "/frame", frame(trained, moving=True, width=160, height=160))[1])
    assert first.shape == (10, 10, 3)  # nothing is known of the speed yet
    server.viewer.budget = 1e6
    second = pixels(ask(server, "POST", "/frame", frame(trained, number=2, moving=True, width=160, height=160))[1])
    assert second.shape == (160, 160, 3)


def test_channels(server: ViewerServer, trained: SceneArtifact) -> None:
    color, depth = (
        pixels(ask(server, "POST", "/frame", frame(trained, number=number, channel=channel))[1])
        for number, channel in enumerate(("rgb", "depth"), 1)
    )
    assert color.shape == depth.shape == (12, 20, 3)
    assert np.abs(color - depth).max() > 10


@pytest.mark.slow
def test_the_latest_request_wins(server: ViewerServer, trained: SceneArtifact) -> None:
    started, asked = threading.Event(), list[bool]()

    class Slow:
        pixels_are_rays, scene = True, trained.scene

        def draw(self, camera: Any) -> Any:
            started.set()
            asked.append(True)
            time.sleep(0.05)
            return trained.draw(camera)

    server.viewer.shown[0] = Shown("slow", Slow(), 1)  # type: ignore[arg-type]
    answers = dict[int, Answer]()
    body = frame(trained, width=256, height=2048)  # 16 bands
    slow = threading.Thread(target=lambda: answers.update({1: ask(server, "POST", "/frame", body)}))
    slow.start()
    assert started.wait(10)
    other = ask(server, "POST", "/frame", frame(trained, client="b", number=9, width=4, height=4))
    slow.join(30)
    assert other[0] == answers[1][0] == 200 and len(asked) == 17  # another client takes nothing away
    answers.clear()
    started.clear()
    asked.clear()
    slow = threading.Thread(target=lambda: answers.update({1: ask(server, "POST", "/frame", body | {"number": 2})}))
    slow.start()
    assert started.wait(10)
    assert ask(server, "POST", "/frame", frame(trained, number=3, moving=True))[0] == 200
    slow.join(10)
    assert answers[1] == (204, b"") and len(asked) < 16


def test_the_page_knows_the_scene(server: ViewerServer, trained: SceneArtifact) -> None:
    status, data = ask(server, "GET", "/scene")
    scene = json.loads(data)
    assert status == 200 and scene["files"] == [{"name": "tiny.nfc", "bytes": 1234, "normals": False, "fixed": False}]
    assert len(scene["poses"]) == len(trained.scene.poses) and scene["up"] == [0.0, 0.0, 1.0]
    status, data = ask(server, "GET", "/")
    assert status == 200 and b"<canvas" in data
    assert ask(server, "GET", "/../etc/passwd")[0] == 404


def test_recorded_paths_are_read_by_render(server: ViewerServer, trained: SceneArtifact, tmp_path: Path) -> None:
    poses = [list(pose) for pose in trained.scene.poses[:2]]
    body = {"poses": poses, "fps": 10, "seconds": 0.5, "width": 20, "height": 12}
    status, data = ask(server, "POST", "/path", body)
    assert status == 200
    (tmp_path / "camera_path.json").write_bytes(data)
    path = read_camera_path(tmp_path / "camera_path.json")
    assert path.fps == 10 and path.camera.c2w.shape == (5, 3, 4)
    ends = torch.tensor(poses).reshape(2, 3, 4)
    assert torch.allclose(path.camera.c2w[[0, -1]], ends, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"width": 0}, "pixels"),
        ({"height": 10**9}, "pixels"),
        ({"c2w": [0.0] * 12}, "pose"),
        ({"c2w": [1e300] * 12}, "pose"),
        ({"c2w": "x"}, "pose"),
        ({"file": 7}, "no file"),
        ({"channel": "../x"}, "no channel"),
        ({"number": "x"}, "understood"),
        ({"width": None}, "understood"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    server: ViewerServer, trained: SceneArtifact, changes: dict[str, Any], word: str
) -> None:
    status, data = ask(server, "POST", "/frame", frame(trained, **changes))
    assert status == 400 and word in data.decode()
    assert ask(server, "POST", "/frame", frame(trained))[0] == 200  # and nothing is broken


def test_other_sites_and_other_formats_are_refused(server: ViewerServer, trained: SceneArtifact) -> None:
    assert ask(server, "GET", "/scene", Host="evil.example")[0] == 403  # a name that was pointed at this machine
    assert ask(server, "POST", "/frame", frame(trained), **{"Content-Type": "text/plain"})[0] == 400
    assert ask(server, "POST", "/frame", b"{", **{"Content-Type": "application/json"})[0] == 400
    assert ask(server, "POST", "/frame", b"[" * 9000)[0] == 400
    assert ask(server, "POST", "/frame", b" " * (2**18 + 1))[0] == 400
    assert ask(server, "POST", "/other", frame(trained))[0] == 400


@pytest.mark.slow
def test_a_browser_that_goes_leaves_the_server_standing(server: ViewerServer, trained: SceneArtifact) -> None:
    body = json.dumps(frame(trained, width=400, height=400)).encode()
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as gone:
        head = (
            f"POST /frame HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        gone.sendall(f"{head}\r\n\r\n".encode() + body)
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as half:
        half.sendall(b"POST /frame HT")
    assert ask(server, "POST", "/frame", frame(trained, client="c"))[0] == 200


def test_beyond_this_machine_a_token_is_needed(trained: SceneArtifact) -> None:
    with ViewerServer(Viewer([Shown("tiny.nfc", trained, 1)]), "0.0.0.0") as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        assert server.token and server.token in server.url
        assert ask(server, "GET", "/scene")[0] == ask(server, "GET", "/?token=wrong")[0] == 403
        assert ask(server, "GET", "/scene", **{"X-Token": "é"})[0] == 403
        assert ask(server, "GET", "/scene", **{"X-Token": server.token})[0] == 200
        assert ask(server, "GET", f"/?token={server.token}")[0] == 200
        server.shutdown()
