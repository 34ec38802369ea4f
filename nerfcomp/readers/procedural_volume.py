"""A volume from a recipe: band-limited turbulence with a few sharp shells in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfcomp.errors import VolumeError
from nerfcomp.files import atomic_write
from nerfcomp.readers.volume import Volume, npy_memmap, slabs

DEEPEST_INTEGER = 1 << 16  # values that a wide integer type takes


class ProceduralVolume:
    """Make a volume of any size and type: waves whose energy falls like that of turbulence, and thin spherical shells.

    Values follow from the arguments alone. Floats lie in (-1, 1), integers take their type's whole range, or 65,536
    values of a wider one.

    Args:
        shape: Voxels along x, y and z.
        dtype: Name of the stored type, as in ``uint8`` or ``float32``.
        seed: Draws waves and shells.
        waves: Number of plane waves.
        finest: Waves along the longest axis that the shortest wave has.
        shells: Number of shells.

    Raises:
        VolumeError: The shape has not three positive numbers, or the type is neither integer nor float.

    >>> volume = ProceduralVolume(shape=(4, 5, 8), dtype="uint8").read()
    >>> volume.values.shape, volume.values.dtype.name, volume.spacing
    ((4, 5, 8), 'uint8', (0.125, 0.125, 0.125))
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (64, 64, 64),
        dtype: str = "float32",
        seed: int = 0,
        waves: int = 64,
        finest: float = 12.0,
        shells: int = 3,
    ) -> None:
        if len(shape) != 3 or min(shape) < 1:
            raise VolumeError(f"A volume has three positive dimensions; found shape {tuple(shape)}.")
        if np.dtype(dtype).kind not in "iuf":
            raise VolumeError(f"A volume holds integers or floats; found dtype {dtype!r}.")
        self.shape = shape
        self.dtype = np.dtype(dtype)
        rng = np.random.default_rng(seed)
        self._draw_waves(rng, waves, finest)
        self._centers = rng.uniform(0.25, 0.75, (shells, 3)) * np.array(shape) / max(shape)
        self._radii = rng.uniform(0.1, 0.35, shells)
        self._heights = rng.uniform(0.5, 1.0, shells) * rng.choice([-1.0, 1.0], shells)

    def read(self) -> Volume:
        """Make the whole volume in memory."""
        return self._volume(np.concatenate(list(self._slabs())))

    def write(self, path: str | Path) -> Volume:
        """Write the volume to a ``.npy`` slab by slab, and return it memory-mapped."""
        with atomic_write(path) as temporary:
            values = npy_memmap(temporary, self.shape, self.dtype)
            for part, slab in zip(slabs(self.shape), self._slabs(), strict=True):
                values[part] = slab
            values.flush()
        return self._volume(np.load(path, mmap_mode="r"))

    def _volume(self, values: NDArray[Any]) -> Volume:
        """Name the values and give them a spacing that makes the longest side 1."""
        step = 1.0 / max(self.shape)
        return Volume(values, (step, step, step), (0.0, 0.0, 0.0), "turbulence")

    def _draw_waves(self, rng: np.random.Generator, count: int, finest: float) -> None:
        """Draw directions evenly, wave numbers evenly in octaves, and energies that fall with the power 5/3."""
        numbers = 2.0 ** rng.uniform(0.0, np.log2(finest), count)
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        self._waves = 2.0 * np.pi * numbers[:, None] * directions / max(self.shape)
        weights = numbers ** (-1.0 / 3.0)
        self._weights = weights / np.sqrt(0.5 * np.sum(weights**2)) * np.exp(2j * np.pi * rng.uniform(size=count))

    def _slabs(self) -> Iterator[NDArray[Any]]:
        """Make slab after slab in the stored type."""
        return (self._store(np.tanh(0.5 * self._turbulence(part) + self._shell(part))) for part in slabs(self.shape))

    def _turbulence(self, part: slice) -> NDArray[np.float32]:
        """(x, Y, Z) sum of the waves; a plane wave is the product of three factors, one of each axis."""
        along_x, along_y, along_z = (
            np.exp(1j * np.outer(np.arange(size), self._waves[:, axis])).astype(np.complex64)
            for axis, size in enumerate(self.shape)
        )
        weighted = (along_x[part] * self._weights).astype(np.complex64)[:, None] * along_y
        flat = weighted.reshape(-1, weighted.shape[-1])
        sums = flat.real @ along_z.real.T - flat.imag @ along_z.imag.T
        return np.asarray(sums, np.float32).reshape(-1, *self.shape[1:])

    def _shell(self, part: slice) -> NDArray[np.float32]:
        """(x, Y, Z) heights of the shells: constant inside, zero outside, with a step in between."""
        x, y, z = (np.arange(size, dtype=np.float32) / max(self.shape) for size in self.shape)
        heights = np.zeros((len(x[part]), *self.shape[1:]), np.float32)
        for center, radius, height in zip(self._centers, self._radii, self._heights, strict=True):
            across = (y[:, None] - center[1]) ** 2 + (z - center[2]) ** 2
            distance = np.sqrt(((x[part] - center[0]) ** 2)[:, None, None] + across)
            heights[np.abs(distance - radius) < 0.03] += height
        return heights

    def _store(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Take (-1, 1) to the range of the stored type."""
        if self.dtype.kind == "f":
            return values.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        low, count = max(int(limits.min), -DEEPEST_INTEGER // 2), min(
            int(limits.max) - int(limits.min), DEEPEST_INTEGER
        )
        scaled: NDArray[Any] = low + np.rint((values + 1.0) * 0.5 * (count - 1))
        return scaled.astype(self.dtype)
