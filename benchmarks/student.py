"""Milliseconds for one picture of a student, in torch and in onnxruntime, and PSNR of what the latter draws.

python benchmarks/student.py                                # MobileR2L's size with random weights, 800x800
python benchmarks/student.py --ckpt runs/.../last.ckpt --size 400
python benchmarks/student.py --ckpt CKPT --trained INT8_CKPT --root LEGO --only onnxruntime
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

from benchmarks.common import measure, report
from nerfcomp.artifacts.convention import as_trained
from nerfcomp.artifacts.integers import calibrated, to_integers
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import FakeQuantization
from nerfcomp.exchange.onnx_export import Precision, export_onnx, open_session, some_poses
from nerfcomp.fields import LightField
from nerfcomp.geometry.cameras import select_views
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.readers import BlenderReader, Scene
from nerfcomp.rendering.metrics import psnr


def random_student(width: int | None = None) -> LightFieldArtifact:
    """A network for synthetic scenes, not trained: it costs what a trained one costs.

    Args:
        width: Of a student at 400x400 that reads no grid; MobileR2L's at 800x800 when absent.
    """
    poses = tuple(tuple(pose) for pose in spherical_path(8, 4.0).flatten(1).tolist())
    corners = ((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5))
    lens = (0.0, 0.0, 0.0, 0.0)
    scene = SceneInfo(corners, 2.0, 6.0, False, (1.0, 1.0, 1.0), 800, 800, (1111.1, 1111.1, 400.0, 400.0), lens, poses)
    if width is None:
        return LightFieldArtifact(field=LightField().eval(), scene=scene)
    tail: dict[str, Any] = {"factors": [8], "kernels": [8], "tail_widths": [3], "tail_blocks": [0]}
    field = LightField(points_per_ray=16, octaves=5, width=width, n_blocks=8, batch_norm=False, **tail)
    return LightFieldArtifact(field=field.eval(), scene=scene.scaled(0.5))


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


def onnx_sessions(
    trained: LightFieldArtifact, integers: Mapping[str, LightFieldArtifact], folder: Path, threads: int
) -> dict[str, Any]:
    """Sessions of onnxruntime that draw from pose to picture, by the name of their case."""
    made = {"fp32": trained, "bf16": trained, **integers}
    sessions = {}
    for name, model in made.items():
        path = folder / f"{name}.onnx"
        export_onnx(model, path, "int8" if name in integers else cast(Precision, name))
        sessions[f"onnxruntime {name}"] = open_session(path, threads)
    return sessions


def mean_psnr(session: Any, views: Scene) -> float:
    """PSNR of what a session draws of some views, each over white, averaged over views."""
    errors = []
    for pose, image in zip(views.camera.c2w, views.images):
        (rgb,) = session.run(None, {"c2w": pose[None].numpy()})
        rgba = image.float() / 255
        truth = torch.lerp(torch.ones(3), rgba[..., :3], rgba[..., 3:])
        errors.append(float(psnr(torch.from_numpy(rgb[0]).permute(1, 2, 0).clamp(0, 1), truth)))
    return sum(errors) / len(errors)


class Row(NamedTuple):
    """Milliseconds of one case, see `Timing`, and PSNR on the test views where it was asked for."""

    name: str
    median: float
    fastest: float
    cpu: float
    psnr: float | None


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, help="a student; random weights of MobileR2L's size when absent")
    parser.add_argument("--width", type=int, help="without --ckpt: random weights of a narrow student without a grid")
    parser.add_argument("--size", type=int, help="rows of the picture")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bits", type=int, default=8, help="of a weight, where integers are multiplied")
    parser.add_argument("--only", default="", help="time the cases with this in their name")
    parser.add_argument("--trained", type=Path, help="the same student trained for integers, beside it calibrated")
    parser.add_argument("--root", type=Path, help="folder of a Blender scene: PSNR on its test views, in onnxruntime")
    parser.add_argument("--downscale", type=int, default=2, help="of these views, to the student's size")
    parser.add_argument("--compile", action="store_true", help="also time torch.compile, which takes a minute to begin")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    torch.set_num_threads(options.threads)
    found = random_student(options.width) if options.ckpt is None else read_artifact(options.ckpt)
    trained = of_kind(found, LightFieldArtifact, "This measures")
    if options.size:
        trained = trained.replace(scene=trained.scene.scaled(options.size / trained.scene.height))
    scene, integers = trained.scene, to_integers(calibrated(trained, [FakeQuantization(bits=options.bits)], 1))
    models = {"int8": integers}
    if options.trained is not None:
        learned = of_kind(read_artifact(options.trained), LightFieldArtifact, "This measures")
        models["int8 trained"] = to_integers(learned.replace(scene=scene))
    with tempfile.TemporaryDirectory() as folder:
        cases = torch_cases(trained, False) | (torch_cases(trained, True) if options.compile else {})
        sessions = onnx_sessions(trained, models, Path(folder), options.threads)
        pose = {"c2w": some_poses(trained, 1)[0]}
        drawing = {name: lambda session=session: session.run(None, pose) for name, session in sessions.items()}
        cases |= integer_case(integers) | drawing
        wanted = {name: case for name, case in cases.items() if options.only in name}
        timings = measure(wanted, options.repeats, warm_up=1)
        quality = {}
        if options.root is not None:
            views = as_trained(BlenderReader(options.root, downscale=options.downscale).read("test"), scene)
            quality = {name: mean_psnr(sessions[name], views) for name in wanted if name in sessions}
    settings = {
        "size": f"{scene.height}x{scene.width}",
        "parameters": sum(parameter.numel() for parameter in trained.field.parameters()),
        "macs": trained.multiplications().dense,
    }
    report("student", settings, [Row(*timing, quality.get(name)) for name, timing in timings.items()])


if __name__ == "__main__":
    main()
