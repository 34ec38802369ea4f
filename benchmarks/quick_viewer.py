"""How fast the viewer is: pictures per second while the camera moves, and seconds to a whole picture when it stops.

``python benchmarks/quick_viewer.py FILE`` takes a ``.nfc`` file, a checkpoint or the folder of a run; without, a field
of random weights is shown, which costs about as much where space is full.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.evaluation.report import format_table
from nerfcomp.viewer import Request, Shown, Viewer
from tests.teacher import tiny_teacher

WARM, FRAMES = 4, 24


def measure(trained: SceneArtifact, side: int, budget: float) -> tuple[float, float, int]:
    """Frames per second while moving, seconds to a still picture of ``side`` squared, rows of the last moving one."""
    viewer = Viewer([Shown("measured", trained, 0)], budget)
    poses = trained.scene.camera.c2w
    rows, seconds = 0, []
    for frame in range(WARM + FRAMES):
        start = time.perf_counter()
        picture = viewer.draw(Request(poses[frame % len(poses)], side, side, True), lambda: True)
        assert picture is not None
        rows = len(picture)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    viewer.draw(Request(poses[0], side, side, False), lambda: True)
    return 1 / statistics.median(seconds[WARM:]), time.perf_counter() - start, rows


def main() -> None:
    """Parse the command line and print one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--side", type=int, default=800)
    parser.add_argument("--budget-ms", type=float, default=80.0)
    options = parser.parse_args()
    trained = tiny_teacher() if options.file is None else read_scene_artifact(options.file).for_drawing()
    with trained.evaluating():
        pace, still, rows = measure(trained, options.side, options.budget_ms / 1000)
    name = "random weights" if options.file is None else str(options.file)
    header = ["model", "frames per second", "rows while moving", "seconds to all", "side"]
    sys.stdout.write(format_table(header, [[name, pace, rows, still, options.side]]) + "\n")


if __name__ == "__main__":
    main()
