"""Small scenes on disk, right and wrong ones."""

import json
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nerfcomp.geometry.paths import spherical_path

Json = dict[str, Any]


def noise(height: int, width: int, channels: int = 4, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def write_images(folder: Path, names: Sequence[str], height: int, width: int, channels: int = 4) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        Image.fromarray(noise(height, width, channels, seed)).save(folder / name)


def matrix(pose: Tensor) -> list[list[float]]:
    bottom = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    return torch.cat([pose, bottom]).tolist()


def orbit_frames(count: int, radius: float = 4.0311, folder: str = "images", suffix: str = ".png") -> list[Json]:
    poses = spherical_path(count, radius, 0.5)
    return [
        {"file_path": f"{folder}/r_{view}{suffix}", "transform_matrix": matrix(pose)} for view, pose in enumerate(poses)
    ]


def write_blender(
    root: Path, height: int = 6, width: int = 8, radius: float = 4.0311, train: int = 5, val: int = 0, test: int = 4
) -> Path:
    for split, count in (("train", train), ("val", val), ("test", test)):
        if count:
            write_images(root / split, [f"r_{view}.png" for view in range(count)], height, width)
            meta = {"camera_angle_x": math.pi / 2, "frames": orbit_frames(count, radius, f"./{split}", "")}
            write_json(root / f"transforms_{split}.json", meta)
    return root


def write_transforms(root: Path, height: int = 6, width: int = 8, count: int = 10, **meta: Any) -> Path:
    write_images(root / "images", [f"r_{view}.png" for view in range(count)], height, width, channels=3)
    write_json(root / "transforms.json", {"fl_x": 7.0, "frames": orbit_frames(count), **meta})
    return root


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def edit_json(path: Path, **changes: Any) -> None:
    write_json(path, {**json.loads(path.read_text()), **changes})


def edit_frame(path: Path, index: int, **changes: Any) -> None:
    content = json.loads(path.read_text())
    content["frames"][index].update(changes)
    write_json(path, content)


def forward_table(
    count: int = 9, height: float = 12.0, width: float = 16.0, focal: float = 14.0
) -> NDArray[np.float64]:
    """Rows of ``poses_bounds.npy`` of cameras in a grid that look along -z, with depths 3 to 30."""
    rows = []
    for view in range(count):
        center = [0.3 * (view % 3 - 1), 0.2 * (view // 3 % 3 - 1), 0.05 * (view % 2)]
        down, right, back = [0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]
        rows.append([*np.array([down, right, back, center, [height, width, focal]]).T.flatten(), 3.0, 30.0])
    return np.array(rows)


def write_llff(root: Path, table: NDArray[np.float64] | None = None, factor: int = 2, scaled: bool = True) -> Path:
    table = forward_table() if table is None else table
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "poses_bounds.npy", table)
    height, width = (6, 8) if scaled else (12, 16)
    folder = f"images_{factor}" if scaled else "images"
    write_images(root / folder, [f"image{view:03d}.png" for view in range(len(table))], height, width, channels=3)
    return root


def write_png(path: Path, pixels: NDArray[np.uint16], claim: tuple[int, int] | None = None) -> Path:
    """Write (H, W, 3) as a PNG of 16 bits per channel, whose header may claim another (height, width)."""
    height, width = claim or pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path
