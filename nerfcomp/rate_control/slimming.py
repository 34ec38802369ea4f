"""Structured slimming: a smaller dense light field, made of the channels of a larger one that its pictures feel most.

Notation: a *unit* is what can be taken out: an inner channel of a residual block, or a channel of a tail stage (its
transposed convolution, its blocks and what reads it). Taking out a channel leaves its mean behind in the biases of the
layers that read it, so what is lost is ``da = a - mean(a)``. A transposed convolution makes a pattern of a constant,
which no bias holds: before it, a *carrier*, constant everywhere, comes on top for all channels that go.

To first order the picture's mean squared error grows by ``mean_y (J da)^2``; one random sign vector ``v`` per view
estimates it from ``g = J^T v`` as the sum of ``(g da)^2`` over positions, which hardly share pixels (Molchanov et al.,
"Importance estimation for neural network pruning", CVPR 2019, but with the whole picture in place of the loss).
"""

import torch
from torch import Tensor

from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.fields import LightField
from nerfcomp.fields.residual import Residual
from nerfcomp.rate_control.slimming_units import Unit, measure_units, stage_readers


def slim(
    trained: LightFieldArtifact, keep: float, views: int = 4, multiple: int = 8, seed: int = 0
) -> LightFieldArtifact:
    """Make a smaller dense light field.

    Args:
        trained: A light field with its scene.
        keep: Share of the removable multiplications that stays, in (0, 1).
        views: Known poses to measure importance from.
        multiple: Channels stay in groups of this size where there are as many, which vector units like; carriers apart.
        seed: Of the estimator.

    Returns:
        A light field with explicit widths, and the scene. It needs fine-tuning.

    Raises:
        ValueError: A number out of range.
    """
    trained = trained.without_hooks()
    field = trained.field
    if not 0 < keep < 1 or views < 1 or multiple < 1:
        raise ValueError(f"keep in (0, 1), views and multiple >= 1 are needed, got {keep}, {views} and {multiple}.")
    units = measure_units(trained, views, seed)
    kept = choose_channels(units, keep, multiple)
    smaller = without_channels(field, units, kept)
    return trained.replace(field=smaller, qp=None)


def choose_channels(units: dict[str, Unit], keep: float, multiple: int) -> dict[str, Tensor]:
    """Keep the channels that matter most for their multiplications.

    Args:
        units: All units.
        keep: Share of their multiplications that stays.
        multiple: Group size that the number of channels of each unit is rounded to.

    Returns:
        Sorted indices of the channels that stay, at least one group of each unit.
    """
    worth = torch.cat([unit.importance / unit.macs for unit in units.values()])
    macs = torch.cat([torch.full_like(unit.importance, unit.macs) for unit in units.values()])
    order = worth.argsort(descending=True)
    within = macs[order].cumsum(0) <= keep * macs.sum()
    chosen = torch.zeros_like(within)
    chosen[order[within]] = True
    kept = {}
    for (name, unit), part in zip(units.items(), chosen.split([len(unit.importance) for unit in units.values()])):
        channels = len(part)
        count = max(multiple, round(int(part.sum()) / multiple) * multiple)
        kept[name] = unit.importance.argsort(descending=True)[: min(count, channels)].sort().values
    return kept


@torch.no_grad()
def without_channels(field: LightField, units: dict[str, Unit], kept: dict[str, Tensor]) -> LightField:
    """Copy the weights of the channels that stay into a light field of their widths.

    Args:
        field: The light field.
        units: Means of the channels that go.
        kept: Indices of the channels that stay, by unit. A carrier comes on top.

    Returns:
        The smaller light field.
    """
    inner = [len(indices) for name, indices in kept.items() if name.endswith(".conv2")]
    state = dict(field.state_dict())
    for name, module in field.named_modules():
        if isinstance(module, Residual):
            _cut_inner(state, name, units[f"{name}.conv2"], kept[f"{name}.conv2"])
    readers = stage_readers(field)
    widths = [_cut_stage(state, name, reader, units[name], kept[name]) for name, reader in readers.items()]
    widths += field.arguments["tail_widths"][len(readers) :]
    smaller = LightField(**{**field.arguments, "inner_widths": inner, "tail_widths": widths}).to(field.aabb.device)
    smaller.load_state_dict(state)
    return smaller.train(field.training)


def _cut_inner(state: dict[str, Tensor], block: str, unit: Unit, kept: Tensor) -> None:
    """Take inner channels out of a block."""
    _leave_means(state, unit, kept)
    state[f"{block}.conv2.weight"] = state[f"{block}.conv2.weight"].index_select(1, kept)
    for key in [key for key in state if key.startswith((f"{block}.conv1.", f"{block}.norm1."))]:
        state[key] = _rows(state[key], kept)


def _gone(unit: Unit, kept: Tensor) -> Tensor:
    """Indices of the channels that do not stay."""
    gone = torch.ones_like(unit.importance, dtype=torch.bool).index_fill(0, kept, False)
    return gone.nonzero().flatten()


def _leave_means(state: dict[str, Tensor], unit: Unit, kept: Tensor) -> None:
    """Put the means of the channels that go into the biases of the 1x1 convolutions that read them."""
    gone = _gone(unit, kept)
    for layer, mean in unit.means.items():
        if not layer.endswith(".up"):
            shift = state[f"{layer}.weight"][:, gone, 0, 0] @ mean[gone]
            state[f"{layer}.bias"] = state[f"{layer}.bias"] + shift


def _cut_stage(state: dict[str, Tensor], stage: str, reader: str, unit: Unit, kept: Tensor) -> int:
    """Take channels out of a stage and of the layer behind; returns how many are left."""
    _leave_means(state, unit, kept)
    gone, read = _gone(unit, kept), state[f"{reader}.weight"]
    carried = unit.carried and len(gone) > 0
    places = torch.cat([kept, gone[:1]]) if carried else kept
    for key in [key for key in state if key.startswith(f"{stage}.")]:
        layer = key.rpartition(".")[0].rpartition(".")[2]
        if layer in ("up", "conv1") and key.endswith("weight"):
            state[key] = state[key].index_select(1, places)
        elif layer in ("up", "conv2", "norm2"):
            state[key] = _rows(state[key], places)
    state[f"{reader}.weight"] = read.index_select(0 if unit.carried else 1, places)
    if carried:
        mean = unit.means[reader][gone]
        size = float(mean.norm()) or 1.0
        state[f"{reader}.weight"][-1] = torch.einsum("i,iokl->okl", mean / size, read[gone])
        _set_carrier(state, stage, size)
    return len(places)


def _set_carrier(state: dict[str, Tensor], stage: str, size: float) -> None:
    """Let the last channel of a stage be ``size`` everywhere; fine-tuning may make more of it."""
    state[f"{stage}.up.weight"][:, -1] = 0.0
    state[f"{stage}.up.bias"][-1] = size
    for key in [key for key in state if key.startswith(f"{stage}.blocks.")]:
        layer, _, kind = key.rpartition(".")
        written = f"{layer.rpartition('.')[0]}.norm2.weight" not in state
        if layer.endswith("conv1") and kind == "weight":
            state[key][:, -1] = 0.0
        elif layer.endswith("conv2" if written else "norm2") and kind in ("weight", "bias"):
            state[key][-1] = 0.0


def _rows(value: Tensor, kept: Tensor) -> Tensor:
    """Rows of a tensor; counters have none."""
    return value.index_select(0, kept) if value.dim() else value
