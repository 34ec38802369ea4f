"""Scalar volumes: a field with the lattice, type and range of the values that it stands for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfcomp.artifacts.artifact import Artifact, SceneArtifact
from nerfcomp.artifacts.coded_tensors import checked_qp
from nerfcomp.artifacts.shown_volume import shown_volume
from nerfcomp.artifacts.volume_info import Axes, VolumeInfo
from nerfcomp.compression import measure_sensitivity, plain_parameters
from nerfcomp.descriptions import Description
from nerfcomp.errors import DivergedError
from nerfcomp.fields import Field, HashVolume, LatentGridVolume, VolumeField, WaveletVolume, build_field
from nerfcomp.files import atomic_write
from nerfcomp.geometry.lattice import lattice_positions

_TILE = 2**18  # points that are evaluated at once
_BATCHES, _POINTS = 16, 16384  # for sensitivities


@dataclass(frozen=True, kw_only=True)
class VolumeArtifact(Artifact):
    """A field of a volume.

    Attributes:
        info: The volume without its values.
    """

    kind: ClassVar[str] = "volume"
    field_classes: ClassVar[tuple[type[Field], ...]] = (HashVolume, LatentGridVolume, WaveletVolume)
    parts: ClassVar[tuple[str, ...]] = ("volume",)
    compact: ClassVar[bool] = True

    field: VolumeField
    info: VolumeInfo

    @classmethod
    def rebuild(cls, description: Mapping[str, Any]) -> Self:
        """Build an untrained twin of what `describe` described; see `Artifact.rebuild`."""
        info = VolumeInfo.from_json(description["volume"])
        field = build_field(Description.from_json(description["field"]), cls.field_classes)
        assert isinstance(field, VolumeField)
        if field.lattice not in (None, info.shape):
            raise ValueError(f"a field of {field.lattice} voxels for a volume of {info.shape}")
        return cls(
            field=field.eval(),
            info=info,
            qp=checked_qp(description.get("qp")),
            rounded=description.get("rounded") is True,
        )

    def describe(self) -> dict[str, Any]:
        """Say in JSON values how this is rebuilt, weights apart."""
        return {**super().describe(), "volume": self.info.to_json()}

    def exact_tensors(self) -> dict[str, Tensor]:
        """Levels of a field that is quantized from the start; none of others."""
        return self.field.exact_tensors()

    def with_exact_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Take over what `exact_tensors` gave."""
        self.field.take_exact_tensors(tensors)
        return self

    @torch.no_grad()
    def rehearse(self, batches: int, seed: int = 0) -> None:
        """Ask for values at random positions; see `Artifact.rehearse`."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(batches):
            self._random_values(_POINTS, generator)

    def sensitivity(self, seed: int = 0, batches: int = _BATCHES, points: int = _POINTS) -> dict[str, Tensor]:
        """Measure how much each weight matters to values at random positions; see `Artifact.sensitivity`."""
        generator = torch.Generator().manual_seed(seed)

        def values() -> Tensor:
            return self._random_values(points, generator)

        calls: list[Callable[[], Tensor]] = [values] * batches
        return measure_sensitivity(calls, plain_parameters(self.field), generator)

    def _random_values(self, points: int, generator: torch.Generator) -> Tensor:
        index = torch.rand(points, 3, generator=generator) * (torch.tensor(self.info.shape) - 1)
        out: Tensor = self.field(lattice_positions(index, self.info.shape).to(self.device))
        return out

    def to_scene(self) -> SceneArtifact:
        """The decoded volume as a cloud."""
        return shown_volume(self.info, self.values)

    def slabs(self, axes: Axes | None = None) -> Iterator[NDArray[Any]]:
        """Decode a lattice slab by slab, along x; memory for one slab at a time.

        Args:
            axes: Voxel coordinates along each axis, see `VolumeInfo.axes`; the volume's own lattice when absent.

        Yields:
            (A, Y, Z) values in the stored type, of at least one layer.
        """
        x, y, z = axes or self.info.axes()
        plane = torch.cartesian_prod(torch.from_numpy(y), torch.from_numpy(z)).reshape(-1, 2)
        layers = max(1, _TILE // len(plane))
        for start in range(0, len(x), layers):
            part = [self._layer(float(at), plane) for at in x[start : start + layers]]
            yield np.stack(part).reshape(len(part), len(y), len(z))

    def values(self, axes: Axes | None = None) -> NDArray[Any]:
        """Decode a lattice into memory: (X, Y, Z) values in the stored type; arguments as of `slabs`."""
        return np.concatenate(list(self.slabs(axes)))

    def write_npy(self, path: str | Path, axes: Axes | None = None) -> None:
        """Decode a lattice into a ``.npy`` file, slab by slab; arguments as of `slabs`."""
        axes = axes or self.info.axes()
        header = {"descr": np.dtype(self.info.dtype).newbyteorder("<").str, "fortran_order": False}
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            shape = tuple(len(axis) for axis in axes)
            np.lib.format.write_array_header_1_0(file, {**header, "shape": shape})  # type: ignore[no-untyped-call]
            for slab in self.slabs(axes):
                file.write(np.ascontiguousarray(slab, np.dtype(self.info.dtype).newbyteorder("<")).data)

    @torch.no_grad()
    def _layer(self, x: float, plane: Tensor) -> NDArray[Any]:
        """Values (N,) of one layer at voxel coordinates (N, 2) along y and z."""
        found = []
        for part in plane.split(_TILE):
            index = torch.cat([torch.full((len(part), 1), x, dtype=torch.float64), part], dim=1)
            outputs = self.field(lattice_positions(index, self.info.shape).to(self.device))
            if not bool(torch.isfinite(outputs).all()):
                raise DivergedError("The volume decodes to values that are not finite: its weights have diverged.")
            found.append(self.info.physical(outputs.float().cpu().numpy()))
        return np.concatenate(found)
