"""Which triangle a pixel shows, against a loop over pixels and triangles."""

import numpy as np

from nerfcomp.kernels.rasterize import rasterize


def test_the_nearest_of_random_triangles_is_shown() -> None:
    generator = np.random.default_rng(0)
    corners = generator.random((30, 3)) * [14, 12, 2] + [-1, -1, 1]
    faces = generator.integers(0, 30, (12, 3))
    shown, depth = rasterize(corners, faces, 10, 12)
    assert (shown >= 0).any() and (shown < 0).any()
    for row in range(10):
        for column in range(12):
            best, face_of_best = np.inf, -1
            for face, (a, b, c) in enumerate(corners[faces]):
                system = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
                if abs(np.linalg.det(system)) < 1e-12:
                    continue
                weights = np.linalg.solve(system, [column, row, 1])
                at = 1 / (weights / [a[2], b[2], c[2]]).sum()
                if weights.min() >= 0 and at < best:
                    best, face_of_best = at, face
            assert shown[row, column] == face_of_best
            np.testing.assert_allclose(depth[row, column], best)


def test_what_reaches_behind_the_camera_is_left_out() -> None:
    corners = np.array([[-9.0, -9.0, 1.0], [20.0, -9.0, 1.0], [-9.0, 20.0, -1.0]])
    assert (rasterize(corners, np.array([[0, 1, 2]]), 3, 3)[0] == -1).all()
