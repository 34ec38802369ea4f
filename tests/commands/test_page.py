"""The page of a student: one folder of files, drawn by a real browser as torch draws it."""

import base64
import functools
import http.server
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.commands.page import page
from nerfcomp.errors import MissingExtraError, NerfcompError
from nerfcomp.exchange import web_runtime
from nerfcomp.exchange.web_runtime import PACKAGE, VERSION, cache_folder, checked, fetch, find_runtime, unpack
from nerfcomp.geometry.cameras import select_views
from tests.exchange.test_onnx_export import student
from tests.viewer.browser import CHROMIUM, Browser

TRAINED = student()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web host that sends files and nothing else."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None and not (cache_folder() / PACKAGE).is_file():
        pytest.skip(f"no {PACKAGE}: npm, which fetches it, is not installed")
    root = tmp_path_factory.mktemp("page")
    write_checkpoint(TRAINED, root / "student.ckpt")
    page(root / "student.ckpt", root / "out")
    return root / "out"


@pytest.fixture(scope="module")
def shown(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    with host, Browser(tmp_path_factory.mktemp("profile"), 400, 300) as browser:
        threading.Thread(target=host.serve_forever, args=(0.02,), daemon=True).start()
        browser.call("Page.navigate", url=f"http://127.0.0.1:{host.server_port}/")
        yield browser
        host.shutdown()


@pytest.mark.slow
def test_the_folder_holds_all_that_a_host_needs(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"index.html", "student.onnx", *web_runtime.WASM}
    text = (folder / "index.html").read_text()
    assert f'"bytes": {(folder / "student.onnx").stat().st_size}' in text and "http" not in text.replace(
        "http-equiv", ""
    )
    with pytest.raises(NerfcompError, match="holds something already"):
        page(folder.parent / "student.ckpt", folder)


@pytest.mark.slow
def test_the_browser_draws_what_torch_draws(shown: Browser) -> None:
    shown.wait("window.viewer && viewer.drawn > 0")
    pose = torch.tensor(shown.evaluate("viewer.pose")).reshape(1, 3, 4)
    shown.evaluate("viewer.draw(viewer.pose).then(rgb => { window.values = Array.from(rgb); }), 0")
    values = torch.tensor(shown.wait("window.values"))
    camera = select_views(TRAINED.scene.camera, [0])._replace(c2w=pose)
    with torch.no_grad():
        truth = TRAINED.for_drawing().draw(camera).rgb.reshape(20, 20, 3)
    assert float((values.reshape(3, 20, 20).permute(1, 2, 0) - truth).abs().max()) <= 1e-3
    assert float(truth.std()) > 1e-3
    url = shown.evaluate("stage.toDataURL().split(',')[1]")
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(url))).convert("RGB"), np.float64)
    assert np.abs(drawn / 255 - truth.numpy()).max() <= 1e-3 + 0.5 / 255  # and 8 bits
    said = shown.evaluate("document.body.innerText")
    assert "frames per second (wasm)" in said and "MB" in said and shown.complaints == []


@pytest.mark.slow
def test_dragging_turns_the_scene(shown: Browser) -> None:
    shown.wait("window.viewer && viewer.drawn > 0")
    before, count = shown.evaluate("viewer.pose"), shown.evaluate("viewer.drawn")
    mouse = {"button": "left", "buttons": 1, "clickCount": 1}
    shown.call("Input.dispatchMouseEvent", type="mousePressed", x=200, y=120, **mouse)
    shown.call("Input.dispatchMouseEvent", type="mouseMoved", x=160, y=130, **mouse)
    shown.call("Input.dispatchMouseEvent", type="mouseReleased", x=160, y=130, **mouse)
    shown.wait(f"viewer.drawn > {count} && !busy")
    after, center = shown.evaluate("viewer.pose"), np.array(shown.evaluate("viewer.scene.center"))
    places = [np.array(pose).reshape(3, 4)[:, 3] for pose in (before, after)]
    assert np.abs(places[1] - places[0]).max() > 0.1
    assert np.linalg.norm(places[0] - center) == pytest.approx(np.linalg.norm(places[1] - center), rel=1e-5)
    assert shown.complaints == []


def test_another_package_is_refused_and_without_npm_a_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / PACKAGE).write_bytes(b"something else")
    with pytest.raises(NerfcompError, match="its digest differs"):
        find_runtime(tmp_path)
    with pytest.raises(NerfcompError, match="npm pack onnxruntime-web@"):
        checked(tmp_path / "none.tgz")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match=f"npm pack onnxruntime-web@{VERSION}"):
        find_runtime()
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(MissingExtraError, match="no network"):
        fetch(tmp_path / "cache" / "a.tgz")


def test_only_what_is_asked_for_leaves_the_package(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        for name in ("package/dist/a.js", "package/dist/b.js", "package/../../evil"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    assert unpack(tmp_path / "a.tgz", ("a.js",), tmp_path / "out") == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.js"]
