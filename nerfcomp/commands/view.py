"""A scene to turn in a browser."""

import logging
import webbrowser
from contextlib import ExitStack
from pathlib import Path

from nerfcomp.artifacts.reading import read_shown_artifact
from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.errors import NerfcompError
from nerfcomp.viewer import Shown, Viewer, ViewerServer

logger = logging.getLogger("compress")


def view(
    input: Path,
    also: list[Path] = [],  # noqa: B006  # never changed
    host: str = "127.0.0.1",
    port: int = 7007,
    budget_ms: float = 80.0,
    browser: bool = False,
    trust: bool = False,
) -> None:
    """Turn a decoded scene in a browser: coarse while it moves, whole when it stands; until Ctrl-C.

    Args:
        input: The .nfc file, a checkpoint, or the folder of a run.
        also: Further files of the same scene, to change to with a slider.
        host: Address to listen at. Others than this machine can only connect where an address of the network is given
            here, and with the token that is printed then.
        port: Port; 0 takes a free one.
        budget_ms: Milliseconds that a picture may take while the camera moves.
        browser: Open the page.
        trust: Run the native decoder, where it is chosen, without its protective child process.
    """
    if not 1 <= budget_ms <= 10_000 or not 0 <= port <= 65535:
        raise NerfcompError(f"budget_ms is {budget_ms}, from 1 to 10000; port is {port}, from 0 to 65535.")
    shown = [_shown(path, trust) for path in (input, *also)]
    with ExitStack() as stack:
        for each in shown:
            stack.enter_context(each.trained.evaluating())
        try:
            server = stack.enter_context(ViewerServer(Viewer(shown, budget_ms / 1000), host, port))
        except OSError as error:
            raise NerfcompError(f"Nothing can listen at {host}:{port} ({error}). Choose another --port.") from error
        logger.info("Open %s ; Ctrl-C ends.", server.url)
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            logger.info("Ended.")


def _shown(path: Path, trust: bool) -> Shown:
    """Read a model for looking at."""
    file = find_checkpoint(path)
    return Shown(path.name, read_shown_artifact(file, trust), file.stat().st_size)
