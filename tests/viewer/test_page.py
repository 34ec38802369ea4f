"""The page in a real browser: what it shows is what the renderer draws, before and after it was turned."""

import io
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.geometry.cameras import resized, select_views
from nerfcomp.viewer import Shown, Viewer, ViewerServer
from tests.teacher import tiny_teacher
from tests.viewer.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]

WIDTH, HEIGHT = 480, 300


@pytest.fixture(scope="module")
def trained() -> Iterator[SceneArtifact]:
    with tiny_teacher().evaluating() as teacher:
        yield teacher


@pytest.fixture(scope="module")
def page(trained: SceneArtifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    files = [Shown("fine.nfc", trained, 2000), Shown("coarse.nfc", trained, 1000)]
    with ViewerServer(Viewer(files)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with Browser(tmp_path_factory.mktemp("profile"), WIDTH, HEIGHT) as browser:
            browser.call("Page.navigate", url=server.url)
            yield browser
        server.shutdown()


def still(page: Browser) -> npt.NDArray[np.int64]:
    """What the page shows once it stands still, right of its panel."""
    page.wait("viewer.shown && !viewer.shown.moving && !flying && viewer.shown.number === number")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    assert picture.size == (WIDTH, HEIGHT)
    left = int(page.evaluate("document.getElementById('panel').getBoundingClientRect().right")) + 1
    return np.asarray(picture).astype(np.int64)[:, left:]


def drawn(trained: SceneArtifact, page: Browser) -> npt.NDArray[np.int64]:
    pose = torch.tensor(page.evaluate("viewer.pose")).reshape(1, 3, 4)
    camera = resized(select_views(trained.scene.camera, [0])._replace(c2w=pose), WIDTH, HEIGHT)
    rgb = trained.draw(camera).rgb.reshape(HEIGHT, WIDTH, 3).clamp(0, 1)
    return (255 * rgb).round().numpy().astype(np.int64)


def test_the_page_shows_what_the_renderer_draws(page: Browser, trained: SceneArtifact) -> None:
    shot = still(page)
    assert np.abs(shot - drawn(trained, page)[:, -shot.shape[1] :]).max() <= 1
    assert shot.std() > 2
    assert "fine.nfc: 2,000 bytes" in page.evaluate("document.body.innerText")


def test_dragging_turns_the_scene(page: Browser, trained: SceneArtifact) -> None:
    before, pose = still(page), page.evaluate("viewer.pose")
    mouse = {"button": "left", "buttons": 1, "clickCount": 1}
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=400, y=150, **mouse)
    for x in range(400, 340, -10):
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=160, **mouse)
    page.call("Input.dispatchMouseEvent", type="mouseReleased", x=340, y=160, **mouse)
    page.wait("viewer.shown.moving || viewer.pose[3] !== %r" % pose[3])
    page.wait("!rest || (viewer.shown && !viewer.shown.moving)")
    after, turned = still(page), page.evaluate("viewer.pose")
    assert np.abs(after - drawn(trained, page)[:, -after.shape[1] :]).max() <= 1
    assert np.abs(after - before).max() > 20
    center = torch.tensor(page.evaluate("viewer.center"))
    distances = [(torch.tensor(each).reshape(3, 4)[:, 3] - center).norm() for each in (pose, turned)]
    assert float(distances[0]) == pytest.approx(float(distances[1]), rel=1e-5)


def test_keys_change_views_and_record_a_path(page: Browser, trained: SceneArtifact) -> None:
    for key in "nkpk":
        page.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
    still(page)
    assert page.evaluate("viewer.keys.length") == 2
    assert page.evaluate("viewer.keys[0]") == pytest.approx(list(trained.scene.poses[page.evaluate("viewer.view") + 1]))
    page.evaluate("document.querySelector('[data-channel=depth]').click()")
    assert np.abs(still(page) - drawn(trained, page)[:, -1:]).max() > 10
    page.evaluate("document.querySelector('[data-channel=rgb]').click()")


def test_a_slider_changes_files(page: Browser) -> None:
    page.evaluate("(f => { f.value = 1; f.dispatchEvent(new Event('input')); })(document.getElementById('file'))")
    still(page)
    assert "coarse.nfc: 1,000 bytes" in page.evaluate("document.body.innerText")


def test_nothing_was_complained_of(page: Browser) -> None:
    still(page)
    assert page.complaints == [] and page.evaluate("document.getElementById('says').textContent") == ""
