"""Pruning by magnitude over many layers at once, in rounds whose masks add up.

Notation: ``s`` is the share of the chosen weights that is zero, ``t`` in [0, 1] the share of the rounds that is over.
A mask is True where a weight is kept.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["fixed", "cubic"]


def sparsity_after(index: int, rounds: int, amount: float, schedule: Schedule) -> float:
    """Share of zeros after round ``index``.

    Args:
        index: 1 to ``rounds``.
        rounds: Number of rounds.
        amount: With ``fixed``, the share of the weights left that each round takes: ``1 - (1 - amount)^index``. With
            ``cubic``, the share at the end: ``s = amount (1 - (1 - t)^3)`` (Zhu and Gupta 2017, equation 1).
        schedule: Which of them.

    Returns:
        s in [0, 1].

    >>> [round(sparsity_after(index, 3, 0.3, "fixed"), 3) for index in (1, 2, 3)]
    [0.3, 0.51, 0.657]
    >>> [round(sparsity_after(index, 3, 0.7, "cubic"), 3) for index in (1, 2, 3)]
    [0.493, 0.674, 0.7]
    """
    if schedule == "fixed":
        return 1 - (1 - amount) ** index
    return amount * (1 - (1 - index / rounds) ** 3)


def extend_masks(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None, sparsity: float
) -> dict[str, Tensor]:
    """Mask the weights of least magnitude over all tensors, beside those that are masked already.

    Args:
        weights: Tensors by name.
        masks: Those of the round before, same names and shapes; none in the first.
        sparsity: Share of all these weights that is to be masked.

    Returns:
        Masks, True where a weight is kept; never fewer masked than before.

    >>> masks = extend_masks({"a": torch.tensor([3.0, -1.0]), "b": torch.tensor([[2.0, 0.5]])}, None, 0.5)
    >>> masks["a"].tolist(), masks["b"].tolist()
    ([True, False], [[True, False]])
    """
    magnitudes = torch.cat([weight.detach().abs().flatten().float() for weight in weights.values()])
    if masks is not None:
        kept = torch.cat([masks[name].flatten() for name in weights])
        magnitudes = magnitudes.masked_fill(~kept, -1.0)
    count = round(sparsity * len(magnitudes))
    if masks is not None:
        count = max(count, int((magnitudes < 0).sum()))
    keep = torch.ones_like(magnitudes, dtype=torch.bool)
    keep[magnitudes.argsort(stable=True)[:count]] = False
    parts = keep.split([weight.numel() for weight in weights.values()])
    return {name: part.view_as(weight) for (name, weight), part in zip(weights.items(), parts)}
