"""Surfaces: radiance fields whose opacity follows from a signed distance."""

from dataclasses import dataclass
from typing import ClassVar, Self

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.fields import Field, HashSurfaceField, NeuSField, SurfaceField


@dataclass(frozen=True, kw_only=True)
class SurfaceArtifact(RadianceFieldArtifact):
    """A surface field with its sampler."""

    kind: ClassVar[str] = "surface field"
    field_classes: ClassVar[tuple[type[Field], ...]] = (HashSurfaceField, NeuSField)

    field: SurfaceField

    def for_coding(self) -> Self:
        """The same with plain weights: directions and lengths would be two tensors for one."""
        folded = self.field.folded()
        return self if folded is self.field else self.replace(field=folded)
