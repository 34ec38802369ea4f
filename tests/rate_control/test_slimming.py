import pytest
import torch

from nerfcomp.artifacts.kinds import rebuild
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.fields import LightField
from nerfcomp.fields.batch_norm import BatchNorm
from nerfcomp.fields.residual import Residual
from nerfcomp.rate_control.slimming import choose_channels, slim, without_channels
from nerfcomp.rate_control.slimming_units import measure_units
from tests.fields.test_light_field import shaken
from tests.tiny import TinyReader


def student(**changes: object) -> LightFieldArtifact:
    field = shaken(width=24, tail_widths=(16, 8), **changes)
    return LightFieldArtifact(field=field, scene=SceneInfo.from_scene(TinyReader(size=24).read("train")))


def gains(block: Residual) -> torch.Tensor:
    assert isinstance(block.norm1, BatchNorm)
    return block.norm1.weight


def pictures(trained: LightFieldArtifact) -> torch.Tensor:
    assert isinstance(trained.field, LightField)
    with torch.no_grad():
        return trained.field.draw(trained.scene.camera, trained.scene.bounds)


def test_slimmer_network_has_explicit_smaller_widths() -> None:
    whole = student()
    small = slim(whole, keep=0.5, multiple=2)
    assert isinstance(small.field, LightField) and isinstance(whole.field, LightField)
    assert sum(small.field.arguments["inner_widths"]) < sum(whole.field.arguments["inner_widths"])
    assert all(width % 2 == 0 and width >= 2 for width in small.field.arguments["inner_widths"])
    ratio = small.multiplications().dense / whole.multiplications().dense
    assert 0.2 < ratio < 0.8
    assert pictures(small).shape == pictures(whole).shape and small.field.batch_norm
    assert rebuild(small.describe()).field.arguments == small.field.arguments


def test_channels_that_do_nothing_go_first_and_are_not_missed() -> None:
    whole = student()
    assert isinstance(whole.field, LightField)
    with torch.no_grad():
        for block in whole.field.residuals:
            width = block.conv2.in_channels
            block.conv2.weight[:, width // 2 :] = 0.0  # never read
            gains(block)[: width // 4] = 0.0  # constant: moves into the next bias
    before = pictures(whole)
    units = measure_units(whole, views=2, seed=0)
    for name, block in zip([name for name in units if name.endswith("conv2")], whole.field.residuals, strict=True):
        width = block.conv2.in_channels
        useless = units[name].importance < 1e-9
        assert useless[width // 2 :].all() and useless[: width // 4].all() and not useless.all()
    inner = {name: unit for name, unit in units.items() if name.endswith("conv2")}
    kept = choose_channels(inner, keep=0.24, multiple=1)
    for name, unit in inner.items():
        width = len(unit.importance)
        assert set(kept[name].tolist()) <= set(range(width // 4, width // 2))
    small = slim(whole, keep=0.55, multiple=1, views=2)
    assert (pictures(small) - before).abs().mean() < 0.6 * before.std()


def test_taking_out_constant_channels_changes_nothing() -> None:
    whole = student(tail_blocks=(0, 0))
    assert isinstance(whole.field, LightField)
    with torch.no_grad():
        for block in whole.field.residuals:
            gains(block)[::2] = 0.0
    units = measure_units(whole, views=2, seed=0)
    every = {name: torch.arange(len(unit.importance)) for name, unit in units.items()}
    kept = {name: indices[1::2] if name.endswith("conv2") else indices for name, indices in every.items()}
    small = without_channels(whole.field, units, kept)
    assert torch.allclose(pictures(whole.replace(field=small)), pictures(whole), atol=1e-5)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("kernels", [(4, 3), (2, 5), (2, 3)])
def test_taking_out_constant_channels_of_stages_changes_nothing(kernels: tuple[int, int], batch_norm: bool) -> None:
    whole = student(kernels=kernels)
    assert isinstance(whole.field, LightField)
    with torch.no_grad():
        for stage in whole.field.tail:
            stage.up.weight[:, ::2] = 0.0  # type: ignore[union-attr, operator]
        for block in whole.field.residuals[-3:]:
            assert isinstance(block.norm2, BatchNorm)
            block.norm2.weight[::2] = 0.0  # each block adds another constant
    whole = whole if batch_norm else whole.for_coding()
    assert isinstance(whole.field, LightField)
    units = measure_units(whole, views=2, seed=0)
    kept = {name: torch.arange(len(unit.importance)) for name, unit in units.items()}
    for name in ("tail.0", "tail.1"):
        assert units[name].importance[::2].max() < 1e-12 < units[name].importance[1::2].min()
        kept[name] = kept[name][1::2]
    small = without_channels(whole.field, units, kept)
    assert small.arguments["tail_widths"] == [8 + 1, 4]  # one carrier before the transposed convolution
    error = (pictures(whole.replace(field=small)) - pictures(whole)).square().mean()
    assert error < 1e-10


def test_folded_networks_are_slimmed_too() -> None:
    small = slim(student().for_coding(), keep=0.5, multiple=4)
    assert isinstance(small.field, LightField) and not small.field.batch_norm


def test_merged_networks_are_slimmed_too() -> None:
    whole = student(tail_blocks=(1, 0)).for_drawing()
    small = slim(whole, keep=0.5, multiple=1)
    assert isinstance(small.field, LightField) and small.field.arguments["tail_widths"][-1] == 3
    assert count_parameters(small) < count_parameters(whole)


def count_parameters(trained: LightFieldArtifact) -> int:
    return sum(value.numel() for value in trained.field.parameters())


@pytest.mark.parametrize("keep", [0.0, 1.0, -1.0])
def test_impossible_shares_are_refused(keep: float) -> None:
    with pytest.raises(ValueError, match="keep in"):
        slim(student(), keep)
