"""One process that trains on the very rays that several processes have used."""

import json
from pathlib import Path

import torch
from torch import Tensor

from nerfcomp.fields import RadianceField
from nerfcomp.geometry.rays import RayBatch, Rays
from nerfcomp.modules import RadianceFieldModule
from nerfcomp.modules.base import OptimizerFactory
from nerfcomp.rendering import Sampler


class UnionModule(RadianceFieldModule):
    """Takes of every batch the leading rays of each rank's share, without any other limit.

    Args:
        counts: JSON file with the number of rays per step and rank.
        field: See `RadianceFieldModule`, like the rest.
        sampler: Likewise.
        optimizer: Likewise.
    """

    def __init__(
        self, counts: str, field: RadianceField, sampler: Sampler, optimizer: OptimizerFactory, max_samples: int = 0
    ) -> None:
        super().__init__(field, sampler, optimizer, max_samples=2**20)
        self.counts: list[list[int]] = json.loads(Path(counts).read_text())
        self.rows = torch.zeros(0).long()
        self.size = 0

    def step(self, batch: RayBatch) -> dict[str, Tensor]:
        counts, self.size = self.counts[self.global_step], len(batch.rgb)
        ranks = [torch.arange(rank, self.size, len(counts))[:count] for rank, count in enumerate(counts)]
        rows = self.rows = torch.cat(ranks)
        rays = Rays(*(value[rows] for value in batch.rays))
        return super().step(RayBatch(rays, batch.rgb[rows], batch.background[rows]))

    def jitter(self, n_rays: int) -> Tensor:
        return super().jitter(self.size)[self.rows]
