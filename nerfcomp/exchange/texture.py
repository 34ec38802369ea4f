"""Pictures wrapped around meshes: colours finer than triangles, for Blender and viewers of glTF.

Notation: a texel is a pixel of the picture; ``uv`` are positions on it in [0, 1]^2, the first to the right, the second
downwards, as the picture's rows count. Charts are pieces of the mesh that lie flat on the picture (xatlas, Young 2018).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from nerfcomp.errors import NerfcompError
from nerfcomp.exchange.mesh import load_trimesh
from nerfcomp.files import new_file
from nerfcomp.geometry.meshes import Float, Mesh, kept_faces, vertex_normals
from nerfcomp.kernels.rasterize import rasterize
from nerfcomp.lazy import import_extra

SUFFIXES = (".glb", ".obj")
_BLOCK = 1000  # faces unwrapped together: more take longer per face and fall into more charts
_GAP = 2  # texels between charts

ColorFunction = Callable[[Float, Float], NDArray[np.uint8]]  # of points (M, 3) with unit normals (M, 3)


class Atlas(NamedTuple):
    """How a mesh lies on a picture.

    Attributes:
        rows: (K,) vertex of the mesh that each corner of a chart is; those on seams are several.
        faces: (F, 3) rows of ``rows``.
        uv: (K, 2).
        height: Rows of the picture.
        width: Columns of it.
    """

    rows: NDArray[np.int64]
    faces: NDArray[np.int64]
    uv: Float
    height: int
    width: int


def load_xatlas() -> Any:
    """The library that unwraps.

    Raises:
        MissingExtraError: It is not installed.
    """
    return import_extra("xatlas", "Textures need xatlas: pip install 'nerfcomp[texture]'.")


def unwrapped(mesh: Mesh, size: int) -> Atlas:
    """Lay a mesh flat on one picture.

    Args:
        mesh: With faces.
        size: About how wide and high the picture shall be, in texels.

    Raises:
        MissingExtraError: xatlas is not installed.
    """
    xatlas = load_xatlas()
    atlas, options = xatlas.Atlas(), xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear = size, _GAP, True
    numbers, blocks = np.arange(len(mesh.vertices)), _blocks(mesh)
    used = []
    for block in blocks:
        keep = np.zeros(len(mesh.faces), bool)
        keep[block] = True
        part = kept_faces(mesh, keep)
        atlas.add_mesh(part.vertices.astype(np.float32), part.faces.astype(np.uint32))
        used.append(numbers[np.unique(mesh.faces[block])])
    atlas.generate(xatlas.ChartOptions(), options)
    parts = [atlas.get_mesh(number) for number in range(len(blocks))]
    first = np.cumsum([0, *(len(rows) for rows, _, _ in parts)])
    faces = np.concatenate([faces.astype(np.int64) + start for (_, faces, _), start in zip(parts, first)])
    rows = np.concatenate([known[rows] for known, (rows, _, _) in zip(used, parts)])
    uv = np.concatenate([uv for _, _, uv in parts]).astype(np.float64)
    return Atlas(rows, faces, uv, int(atlas.height), int(atlas.width))


def _blocks(mesh: Mesh) -> list[NDArray[np.int64]]:
    """Faces that lie together, halved along the longest side until they are few."""
    middles: Float = mesh.vertices[mesh.faces].mean(1)
    found, waiting = list[NDArray[np.int64]](), [np.arange(len(mesh.faces))]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= _BLOCK:
            found.append(np.sort(rows))
            continue
        axis = int(np.ptp(middles[rows], axis=0).argmax())
        rows = rows[np.argsort(middles[rows, axis], kind="stable")]
        waiting += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return found


def baked(mesh: Mesh, atlas: Atlas, color_fn: ColorFunction) -> NDArray[np.uint8]:
    """Colour every texel that a chart covers; the others are those beside them, so that nothing bleeds in at seams.

    Args:
        mesh: The mesh.
        atlas: How it lies on the picture.
        color_fn: Colours (M, 3) of points of the mesh.

    Returns:
        (height, width, 3).
    """
    corners = np.column_stack([atlas.uv * [atlas.width, atlas.height] - 0.5, np.ones(len(atlas.uv))])
    face, _ = rasterize(corners, atlas.faces, atlas.height, atlas.width)
    picture = np.zeros((atlas.height, atlas.width, 3), np.uint8)
    normals, covered = vertex_normals(mesh), face >= 0
    row, column = covered.nonzero()
    triangles = atlas.faces[face[covered]]
    shares = _shares(corners[triangles][..., :2], np.stack([column, row], 1).astype(np.float64))
    ends = atlas.rows[triangles]
    points, across = (np.einsum("mc,mcd->md", shares, values[ends]) for values in (mesh.vertices, normals))
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
    picture[covered] = color_fn(points, across)
    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    filled: NDArray[np.uint8] = picture[tuple(nearest)]
    return filled


def _shares(corners: Float, points: Float) -> Float:
    """Barycentric coordinates (M, 3) of points (M, 2) in triangles (M, 3, 2).

    >>> _shares(np.array([[[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]]), np.array([[1.0, 2.0]])).tolist()
    [[0.25, 0.25, 0.5]]
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]

    def area(one: Float, two: Float) -> Float:
        product: Float = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
        return product

    whole = area(b - a, c - a)
    second, third = area(points - a, c - a) / whole, area(b - a, points - a) / whole
    return np.stack([1 - second - third, second, third], 1)


def texture_files(path: Path) -> list[Path]:
    """The files that a textured mesh consists of.

    Raises:
        NerfcompError: Meshes of this suffix have no textures.

    >>> [file.name for file in texture_files(Path("lego.obj"))]
    ['lego.obj', 'lego.mtl', 'lego.png']
    """
    if path.suffix not in SUFFIXES:
        raise NerfcompError(f"Textures go into {' and '.join(SUFFIXES)}; {path} would hold colours of vertices alone.")
    return [path] if path.suffix == ".glb" else [path, path.with_suffix(".mtl"), path.with_suffix(".png")]


def write_textured(mesh: Mesh, atlas: Atlas, picture: NDArray[np.uint8], path: Path, force: bool = False) -> None:
    """Write a mesh with its picture: one .glb, or .obj with .mtl and .png beside it.

    Args:
        mesh: The mesh that was unwrapped, wherever it was moved since.
        atlas: How it lies on the picture.
        picture: (height, width, 3).
        path: The file; see `texture_files`.
        force: Overwrite what is there.

    Raises:
        NerfcompError: Another suffix, or a file that is there.
        MissingExtraError: trimesh is not installed.
    """
    files, trimesh = texture_files(path), load_trimesh()
    material = trimesh.visual.material.PBRMaterial(
        name=path.stem, baseColorTexture=Image.fromarray(picture), metallicFactor=0.0, roughnessFactor=1.0
    )
    upwards = np.column_stack([atlas.uv[:, 0], 1 - atlas.uv[:, 1]])  # as .obj counts, which trimesh follows
    visual = trimesh.visual.TextureVisuals(uv=upwards, material=material)
    shown = trimesh.Trimesh(mesh.vertices[atlas.rows], atlas.faces, visual=visual, process=False)
    shown.vertex_normals = vertex_normals(mesh)[atlas.rows]
    if path.suffix == ".glb":
        contents = [shown.export(file_type="glb")]
    else:
        text, parts = trimesh.exchange.obj.export_obj(shown, return_texture=True, mtl_name=files[1].name)
        contents = [text.encode(), *(parts[file.name] for file in files[1:])]
    for file, content in zip(files, contents):
        with new_file(file, force) as temporary:
            temporary.write_bytes(content)
