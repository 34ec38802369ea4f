"""Milliseconds for one picture of a student, in torch and in onnxruntime.

python benchmarks/student.py                                # MobileR2L's size with random weights, 800x800
python benchmarks/student.py --ckpt runs/.../last.ckpt --size 400
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

from benchmarks.common import measure, report
from nerfcomp.artifacts.integers import calibrated, to_integers
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import FakeQuantization
from nerfcomp.exchange.onnx_export import export_onnx, open_session, some_poses
from nerfcomp.fields import LightField
from nerfcomp.geometry.cameras import select_views
from nerfcomp.geometry.paths import spherical_path


def random_student() -> LightFieldArtifact:
    """MobileR2L's network for synthetic scenes, not trained: it costs what a trained one costs."""
    poses = tuple(tuple(pose) for pose in spherical_path(8, 4.0).flatten(1).tolist())
    corners = ((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5))
    lens = (0.0, 0.0, 0.0, 0.0)
    scene = SceneInfo(corners, 2.0, 6.0, False, (1.0, 1.0, 1.0), 800, 800, (1111.1, 1111.1, 400.0, 400.0), lens, poses)
    return LightFieldArtifact(field=LightField().eval(), scene=scene)


def torch_cases(trained: LightFieldArtifact, compiled: bool) -> dict[str, Callable[[], object]]:
    """Drawing the home view with torch."""
    camera, bounds = select_views(trained.scene.camera, [0]), trained.scene.bounds
    cases: dict[str, Callable[[], object]] = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        field = trained.for_drawing().field
        forward = torch.compile(field) if compiled else field

        def draw(forward: Callable[[torch.Tensor], torch.Tensor] = forward, kind: torch.dtype = kind) -> object:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=kind is torch.bfloat16):
                return forward(points)

        points = field.points_of(camera, bounds)
        cases[f"torch {name}{' compiled' if compiled else ''}"] = draw
    return cases


def integer_case(integers: LightFieldArtifact) -> dict[str, Callable[[], object]]:
    """Drawing the home view with our own integers."""
    field = integers.for_drawing().field
    points = field.points_of(select_views(integers.scene.camera, [0]), integers.scene.bounds)

    def draw() -> object:
        with torch.inference_mode():
            return field(points)

    return {"our integers": draw}


def onnx_cases(
    trained: LightFieldArtifact, integers: LightFieldArtifact, folder: Path, threads: int
) -> dict[str, Callable[[], object]]:
    """Drawing the home view with onnxruntime, from pose to picture."""
    cases: dict[str, Callable[[], object]] = {}
    pose = some_poses(trained, 1)[0]
    for precision in ("fp32", "bf16", "int8"):
        path = folder / f"{precision}.onnx"
        export_onnx(integers if precision == "int8" else trained, path, precision)
        session = open_session(path, threads)
        cases[f"onnxruntime {precision}"] = lambda session=session: session.run(None, {"c2w": pose})  # type: ignore
    return cases


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, help="a student; random weights of MobileR2L's size when absent")
    parser.add_argument("--size", type=int, help="rows of the picture")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bits", type=int, default=8, help="of a weight, where integers are multiplied")
    parser.add_argument("--only", default="", help="time the cases with this in their name")
    parser.add_argument("--compile", action="store_true", help="also time torch.compile, which takes a minute to begin")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    torch.set_num_threads(options.threads)
    found = random_student() if options.ckpt is None else read_artifact(options.ckpt)
    trained = of_kind(found, LightFieldArtifact, "This measures")
    if options.size:
        trained = trained.replace(scene=trained.scene.scaled(options.size / trained.scene.height))
    scene, integers = trained.scene, to_integers(calibrated(trained, [FakeQuantization(bits=options.bits)], 1))
    with tempfile.TemporaryDirectory() as folder:
        cases = torch_cases(trained, False) | (torch_cases(trained, True) if options.compile else {})
        cases |= integer_case(integers) | onnx_cases(trained, integers, Path(folder), options.threads)
        wanted = {name: case for name, case in cases.items() if options.only in name}
        timings = measure(wanted, options.repeats, warm_up=1)
    settings = {
        "size": f"{scene.height}x{scene.width}",
        "parameters": sum(parameter.numel() for parameter in trained.field.parameters()),
        "macs": trained.multiplications().dense,
    }
    report("student", settings, list(timings.values()))


if __name__ == "__main__":
    main()
