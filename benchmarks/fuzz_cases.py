"""What fuzzers do in one case: damage a file, and read it to the end."""

import copy
import json
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import fuzz_streams
from benchmarks.fuzz_subjects import SIDE, subjects
from benchmarks.mutations import damaged, mutated
from nerfcomp.artifacts.artifact import Artifact, SceneArtifact
from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, uniform_allocation
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.codec import Container, from_bytes, to_bytes
from nerfcomp.geometry.cameras import select_views
from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers import BlenderReader, TransformsReader
from tests.codec.samples import rehash

MOST_PIXELS = 2**8
_MARK = "executed"


def prepare(what: str, folder: Path) -> Any:
    """Make the intact files and warm up; the case takes a generator and the folder."""
    if what == "scenes":
        write_scenes(folder)
        return scene_case
    if what == "streams":
        intact_streams = fuzz_streams.streams()
        return lambda rng, place: fuzz_streams.stream_case(intact_streams, rng, place)
    known = subjects()
    if what == "checkpoints":
        for name, trained in known.items():
            path = folder / f"{name}.ckpt"
            write_checkpoint(trained, path)
            picture(read_checkpoint(path))
        intact = [torch.load(folder / f"{name}.ckpt", weights_only=True) for name in known]
        return lambda rng, place: checkpoint_case(intact, rng, place)
    containers = []
    for trained in known.values():
        coded = trained.for_coding()
        containers.append(encode_artifact(coded, uniform_allocation(coded, -24)))
        picture(decode_artifact(from_bytes(to_bytes(containers[-1]))))
    return lambda rng, place: nfc_case(containers, rng)


def picture(trained: Artifact) -> str:
    """Draw what a file holds; pictures larger than some hundred pixels in part."""
    with trained.evaluating():
        if isinstance(trained, VolumeArtifact):
            axes = trained.info.axes()
            values = next(trained.slabs((axes[0][:2], axes[1][:8], axes[2][:8])))
            return "read" if values.size else "EMPTY"
        assert isinstance(trained, SceneArtifact)
        camera = select_views(trained.scene.camera, [0])
        if camera.height * camera.width > MOST_PIXELS:
            size = (min(camera.height, SIDE), min(camera.width, SIDE))
            camera = camera._replace(height=size[0], width=size[1])
        rgb = trained.draw(camera).rgb
        return "read" if bool(torch.isfinite(rgb).all()) else "NAN PICTURE"


def nfc_case(containers: list[Container], rng: random.Random) -> str:
    """Damage header, sections or both behind a valid digest."""
    container = rng.choice(containers)
    header, sections = container.header, list(container.sections)
    kind = rng.random()
    if kind < 0.45:
        header = mutated(header, rng)
    if kind > 0.35:
        place = rng.randrange(len(sections))
        sections[place] = sections[place]._replace(data=damaged(sections[place].data, rng))
    table = [
        {"bytes": len(s.data), "kind": s.kind, "name": s.name, "tensors": [[n, d, list(h)] for n, d, h in s.tensors]}
        for s in sections
    ]
    if rng.random() < 0.1:
        table = mutated(table, rng)
    if not isinstance(header, dict):
        header = {"field": header}
    text = json.dumps({**header, "sections": table}, sort_keys=True, separators=(",", ":"), default=str)
    packed = text.encode("utf-8", "surrogatepass")
    prefix = to_bytes(container)[:12] + len(packed).to_bytes(4, "little")
    data = rehash(prefix + packed + b"".join(s.data for s in sections))
    return picture(decode_artifact(from_bytes(data)))


def checkpoint_case(intact: list[dict[str, Any]], rng: random.Random, folder: Path) -> str:
    """Damage a description, a state, the file itself, or hide a payload in it."""
    content = copy.copy(rng.choice(intact))
    kind, path, mark = rng.random(), folder / "case.ckpt", folder / _MARK
    if kind < 0.5:
        content["trained"] = mutated(content["trained"], rng)
    elif kind < 0.8:
        content["state_dict"] = changed_state(content["state_dict"], rng)
    elif kind < 0.85:
        content = mutated({**content, "state_dict": {}}, rng)
    elif kind < 0.9:
        content["hyper_parameters"] = {
            "_class_path": "os.system",
            "command": f"touch {mark}",
            "_instantiator": "this.s",
        }
    save(content, path, rng, mark if kind > 0.95 else None)
    if kind > 0.9:
        path.write_bytes(damaged(path.read_bytes(), rng))
    try:
        return picture(read_checkpoint(path))
    finally:
        if mark.exists():
            raise AssertionError("a payload was executed")


def changed_state(state: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Tensors of other shapes, types, values and names."""
    state = dict(state)
    for _ in range(rng.randint(1, 3)):
        key = rng.choice(sorted(state, key=str))
        value = state[key]
        change = rng.randrange(9)
        plain = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.numel() < 2**20
        if change == 0 or not plain:
            del state[key]
        elif change == 1:
            state[key] = value.flatten()[: rng.randrange(value.numel() + 1)]
        elif change == 2:
            state[key] = value.to(rng.choice([torch.float16, torch.int8, torch.float64, torch.bool, torch.complex64]))
        elif change == 3:
            state[key] = torch.full_like(value.float(), rng.choice([float("nan"), float("inf"), 1e30, -1e30, 0.0]))
        elif change == 4:
            state[key] = torch.zeros(1).expand(rng.choice([2**30, 2**40]))
        elif change == 5:
            state[key] = rng.choice([None, "text", 3, [1.0], {"a": 1}])
        elif change == 6:
            odd: Any = rng.choice(["", "field.", "x", 3, None])
            state[odd] = state.pop(key)
        elif change == 7:
            state[key] = value * rng.choice([1e3, 1e10, -1.0, float("nan")]) if value.is_floating_point() else value
        else:
            state[key] = value.to_sparse() if value.dim() and value.is_floating_point() else value
        if not state:
            break
    return state


class _Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def save(content: dict[str, Any], path: Path, rng: random.Random, mark: Path | None) -> None:
    """Write a checkpoint; with a payload where ``mark`` is given, which makes that file when it is executed."""
    if mark is not None and rng.random() < 0.5:
        path.write_bytes(pickle.dumps(_Payload(mark)))
        return
    if mark is not None:
        content = {**content, rng.choice(["state_dict", "callbacks", "trained", "loops"]): _Payload(mark)}
    torch.save(content, path)
    if rng.random() < 0.05:
        with zipfile.ZipFile(path) as plain:
            entries = [(entry.filename, plain.read(entry)) for entry in plain.infolist()]
        with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])) as packed:
            for name, data in entries:
                packed.writestr(name, damaged(data, rng) if rng.random() < 0.3 else data)


def write_scenes(folder: Path) -> None:
    """Two small scenes of formats that anybody may send."""
    noise = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 4), np.uint8)
    frames = []
    for view, pose in enumerate(torch.tensor(subjects_poses()).tolist()):
        for name in ("images", "train"):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(noise[view]).save(folder / name / f"{view}.png")
        frames.append({"file_path": f"./images/{view}.png", "transform_matrix": pose})
    content = {"camera_angle_x": 0.8, "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(content))
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 9.0, "w": 8, "h": 8, "aabb_scale": 2, **content}))


def subjects_poses() -> list[list[list[float]]]:
    """Four cameras around the origin."""
    turns = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]
    return [[[c, 0, s, 4 * s], [0, 1, 0, 0], [-s, 0, c, 4 * c], [0, 0, 0, 1]] for c, s in turns]


def scene_case(rng: random.Random, folder: Path) -> str:
    """Damage a description of a scene or one of its images; read it to rays."""
    root = folder / "scene"
    blender = rng.random() < 0.5
    name = "transforms_train.json" if blender else "transforms.json"
    (root / "images").mkdir(parents=True, exist_ok=True)
    content = json.loads((folder / name).read_text())
    for view in range(4):
        (root / "images" / f"{view}.png").write_bytes((folder / "images" / f"{view}.png").read_bytes())
    kind = rng.random()
    if kind < 0.7:
        content = mutated(content, rng)
    text = json.dumps(content, default=str).encode("utf-8", "surrogatepass")
    if 0.7 <= kind < 0.85:
        text = damaged(text, rng)
    if kind >= 0.85:
        image = root / "images" / f"{rng.randrange(4)}.png"
        image.write_bytes(damaged(image.read_bytes(), rng))
    (root / name).write_bytes(text)
    reader = BlenderReader(root, val_hold=0) if blender else TransformsReader(root, test_fraction=0.0, val_hold=0)
    scene = reader.read("train")
    known = SceneInfo.from_scene(scene)
    rays = image_rays(known.camera, 0, known.near, known.far)
    return "read" if all(bool(torch.isfinite(part).all()) for part in rays) else "NAN RAYS"
