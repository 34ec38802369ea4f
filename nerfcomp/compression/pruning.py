"""Pruning by magnitude over many layers at once, in rounds whose masks add up.

Notation: ``s`` is the share of the chosen weights that is zero, ``t`` in [0, 1] the share of the rounds that is over.
A mask is True where a weight is kept.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Literal

import torch
from torch import Tensor, nn

Schedule = Literal["fixed", "cubic"]


def chosen_weights(module: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Parameter]:
    """Parameters of two dimensions or more whose names match.

    Args:
        module: Any module.
        patterns: Names with ``*`` and ``?``; one starting with ``!`` takes names out again.

    Returns:
        Parameters by name.

    Raises:
        ValueError: None matches.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> list(chosen_weights(net, ["*.weight", "!1.*"]))
    ['0.weight']
    """
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    found = {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.dim() > 1
        and any(fnmatch(name, pattern) for pattern in wanted)
        and not any(fnmatch(name, pattern) for pattern in unwanted)
    }
    if not found:
        names = [name for name, parameter in module.named_parameters() if parameter.dim() > 1]
        raise ValueError(f"No weight matches {list(patterns)}; there are {names[:6]} and so on.")
    return found


def sparsity_after(turn: int, rounds: int, amount: float, schedule: Schedule) -> float:
    """Share of zeros after round ``turn``.

    Args:
        turn: 1 to ``rounds``.
        rounds: Number of rounds.
        amount: With ``fixed``, the share of the weights left that each round takes: ``s = 1 - (1 - amount)^turn``. With
            ``cubic``, the share at the end: ``s = amount (1 - (1 - t)^3)`` (Zhu and Gupta 2017, equation 1).
        schedule: Which of them.

    Returns:
        s in [0, 1].

    >>> [round(sparsity_after(turn, 3, 0.3, "fixed"), 3) for turn in (1, 2, 3)]
    [0.3, 0.51, 0.657]
    >>> [round(sparsity_after(turn, 3, 0.7, "cubic"), 3) for turn in (1, 2, 3)]
    [0.493, 0.674, 0.7]
    """
    if schedule == "fixed":
        return 1 - (1 - amount) ** turn
    return amount * (1 - (1 - turn / rounds) ** 3)


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


@torch.no_grad()
def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set masked weights to zero, in place.

    >>> weight = torch.tensor([3.0, -1.0])
    >>> apply_masks({"a": weight}, {"a": torch.tensor([True, False])})
    >>> weight.tolist()
    [3.0, 0.0]
    """
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask.to(weights[name].device), 0.0)
