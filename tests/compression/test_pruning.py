import pytest
import torch
from torch import nn

from nerfcomp.compression import chosen_weights, extend_masks, sparsity_after


def weights() -> dict[str, torch.Tensor]:
    return {"a": torch.randn(40, 30), "b": 3 * torch.randn(50), "c": torch.randn(2, 3, 4)}


def zeros(masks: dict[str, torch.Tensor]) -> int:
    return sum(int((~mask).sum()) for mask in masks.values())


def test_least_magnitudes_go_wherever_they_are() -> None:
    values = weights()
    masks = extend_masks(values, None, 0.3)
    flat = torch.cat([value.flatten() for value in values.values()]).abs()
    threshold = flat.sort().values[round(0.3 * len(flat)) - 1]
    assert zeros(masks) == round(0.3 * len(flat))
    for name, value in values.items():
        assert torch.equal(masks[name], value.abs() > threshold) and masks[name].shape == value.shape
    assert masks["b"].float().mean() > masks["a"].float().mean()


def test_masks_add_up_over_rounds() -> None:
    values, masks = weights(), None
    total = sum(value.numel() for value in values.values())
    counts = []
    for turn in (1, 2, 3):
        masks = extend_masks(values, masks, sparsity_after(turn, 3, 0.3, "fixed"))
        for name, value in values.items():
            value.masked_fill_(~masks[name], 0.0)
            value += 0.5 * torch.randn_like(value)  # fine-tuning, which may even move masked weights
        counts.append(zeros(masks) / total)
    assert counts == pytest.approx([0.3, 0.51, 0.657], abs=1e-3)


def test_masked_weights_stay_masked_though_others_are_smaller() -> None:
    first = extend_masks({"a": torch.tensor([1.0, 2.0, 3.0, 4.0])}, None, 0.25)
    second = extend_masks({"a": torch.tensor([9.0, 0.1, 3.0, 4.0])}, first, 0.5)
    assert second["a"].tolist() == [False, False, True, True]
    assert extend_masks({"a": torch.tensor([9.0, 0.1, 3.0, 4.0])}, second, 0.25)["a"].tolist() == second["a"].tolist()


def test_equal_magnitudes_are_counted_exactly() -> None:
    assert zeros(extend_masks({"a": torch.ones(10), "b": torch.zeros(4)}, None, 0.5)) == 7


@pytest.mark.parametrize("schedule", ["fixed", "cubic"])
def test_schedules_grow(schedule: str) -> None:
    shares = [sparsity_after(turn, 5, 0.6, schedule) for turn in range(6)]  # type: ignore[arg-type]
    assert shares[0] == 0 and shares == sorted(shares) and shares[-1] < 1


def test_patterns_choose_weights() -> None:
    net = nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), "rgb": nn.Linear(3, 3)})
    assert list(chosen_weights(net, ["*.weight"])) == ["body.0.weight", "rgb.weight"]  # normalisations have vectors
    assert list(chosen_weights(net, ["*", "!rgb.*"])) == ["body.0.weight"]
    with pytest.raises(ValueError, match="body.0.weight"):
        chosen_weights(net, ["tail.*"])
