"""Contexts of :mod:`nerfcomp.codec.pyramid_model`: what is known around a coefficient or a block; its notation."""

import numpy as np

from nerfcomp.codec.bit_models import MODELS, kernel

BLOCK, QUESTIONS = 4, 16
CONTEXTS = 2048
GRADES = np.array([0, 1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, *[7] * 8, *[8] * 13, *[9] * 20, *[10] * 30, 11])


@kernel
def block_contexts(
    slots: np.ndarray,
    around: np.ndarray,
    sizes: np.ndarray,
    start: np.ndarray,
    first: tuple[int, int, int],
    ends: tuple[int, int, int],
    box: np.ndarray,
    low: np.ndarray,
    band: int,
    grade: int,
    filled: np.ndarray,
) -> None:
    """Contexts of the question whether there is anything in a block; ``around`` gets sums over parents and sisters."""
    parents, sisters = 0, 0
    i, j, k = first[0] // BLOCK, first[1] // BLOCK, first[2] // BLOCK
    corner = (start[0] + first[0], start[1] + first[1], start[2] + first[2])
    last = (start[0] + ends[0] - 1, start[1] + ends[1] - 1, start[2] + ends[2] - 1)
    if grade > 0:
        for x in range(corner[0] * low[0] // box[0], last[0] * low[0] // box[0] + 1):
            for y in range(corner[1] * low[1] // box[1], last[1] * low[1] // box[1] + 1):
                for z in range(corner[2] * low[2] // box[2], last[2] * low[2] // box[2] + 1):
                    parents += sizes[x, y, z]
        for x in range(first[0], ends[0]):
            for y in range(first[1], ends[1]):
                for z in range(first[2], ends[2]):
                    sisters += _sister_sum(sizes, x, y, z, box, low, band)
    faces = filled[i, j + 1, k + 1] + 2 * filled[i + 1, j, k + 1] + 4 * filled[i + 1, j + 1, k]
    total = faces + 8 * filled[i, j, k + 1] + 16 * filled[i, j + 1, k] + 32 * filled[i + 1, j, k]
    around[0], around[1] = parents, sisters
    p, s = GRADES[min(parents, 86)], GRADES[min(sisters, 86)]
    slots[0] = total | band << 6
    slots[1] = p | faces << 4 | band << 7
    slots[2] = s | faces << 4 | band << 7
    slots[3] = p | s << 4 | min(grade, 7) << 8
    slots[4] = min(p, 7) | min(s, 7) << 3 | faces << 6
    slots[5] = grade
    for index in range(MODELS):
        slots[index] += (index * QUESTIONS + 15) * CONTEXTS


@kernel
def _sister_sum(sizes: np.ndarray, x: int, y: int, z: int, box: np.ndarray, low: np.ndarray, band: int) -> int:
    """Sizes at the same place in the bands of the box that are known already."""
    total = 0
    for sister in range(1, band):
        u = x + low[0] if sister & 4 else x
        v = y + low[1] if sister & 2 else y
        w = z + low[2] if sister & 1 else z
        inside = u < (box[0] if sister & 4 else low[0]) and v < (box[1] if sister & 2 else low[1])
        if inside and w < (box[2] if sister & 1 else low[2]):
            total += sizes[u, v, w]
    return total


@kernel
def look_around(
    around: np.ndarray,
    near: np.ndarray,
    sizes: np.ndarray,
    x: int,
    y: int,
    z: int,
    at: tuple[int, int, int],
    box: np.ndarray,
    low: np.ndarray,
    band: int,
) -> None:
    """Collect what is known near a coefficient: three faces, edges, beyond, parent, around the parent, sisters."""
    u, v, w = x + 2, y + 2, z + 2
    around[0], around[1], around[2] = near[u - 1, v, w], near[u, v - 1, w], near[u, v, w - 1]
    around[3] = (
        near[u - 1, v - 1, w]
        + near[u - 1, v + 1, w]
        + near[u - 1, v, w - 1]
        + near[u - 1, v, w + 1]
        + near[u, v - 1, w - 1]
        + near[u, v - 1, w + 1]
    )
    around[4] = near[u - 2, v, w] + near[u, v - 2, w] + near[u, v, w - 2]
    around[5], around[6], around[7] = 0, 0, 0
    if band == 0:
        return
    a, b, c = at[0] * low[0] // box[0], at[1] * low[1] // box[1], at[2] * low[2] // box[2]
    around[5] = sizes[a, b, c]
    around[6] = (
        sizes[max(a - 1, 0), b, c]
        + sizes[min(a + 1, low[0] - 1), b, c]
        + sizes[a, max(b - 1, 0), c]
        + sizes[a, min(b + 1, low[1] - 1), c]
        + sizes[a, b, max(c - 1, 0)]
        + sizes[a, b, min(c + 1, low[2] - 1)]
    )
    around[7] = _sister_sum(sizes, x, y, z, box, low, band)


@kernel
def question_contexts(slots: np.ndarray, around: np.ndarray, question: int, band: int, grade: int) -> int:
    """Find the six slots of a question; returns the grade of everything around."""
    faces = around[0] + around[1] + around[2]
    edges, beyond, parent, parents, sisters = around[3], around[4], around[5], around[6], around[7]
    total = (4 * faces + 2 * edges + beyond + 3 * parent + parents + 2 * sisters) // 4
    f, e, q = GRADES[min(faces, 86)], GRADES[min(edges, 86)], GRADES[min(parents, 86)]
    s, t = GRADES[min(sisters, 86)], GRADES[min(total, 86)]
    slots[0] = f | e << 4 | min(GRADES[min(beyond, 86)], 7) << 8
    slots[1] = min(around[0], 7) | min(around[1], 7) << 3 | min(around[2], 7) << 6 | min(parent, 3) << 9
    slots[2] = GRADES[min(parent, 86)] | q << 4 | min(f, 7) << 8
    slots[3] = band | grade << 3 | GRADES[min(faces + edges, 86)] << 7
    slots[4] = s | f << 4 | min(GRADES[min(parent, 86)], 7) << 8
    slots[5] = min(total, 63) | grade << 6
    for index in range(MODELS):
        slots[index] += (index * QUESTIONS + question) * CONTEXTS
    return int(t)
