"""A student that reads its grid where its teacher sees something, in the least box about all of that."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, uniform_allocation
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.codec import to_bytes
from nerfcomp.compression import named_masks, plain_parameters
from nerfcomp.datamodules import ViewDataModule
from nerfcomp.errors import CheckpointError
from nerfcomp.geometry.cameras import select_views
from nerfcomp.kernels.hash_grid import hash_encode
from nerfcomp.modules import LightFieldModule
from nerfcomp.optim import GridAdam
from nerfcomp.rate_control.slimming import slim
from nerfcomp.rendering import OccupancySampler
from tests.fields.test_light_field import shaken
from tests.fields.test_light_field_grid import with_grid
from tests.modules.tiny_fields import quiet_fit
from tests.teacher import tiny_teacher
from tests.tiny import TinyReader

pytestmark = pytest.mark.slow
BOX = ((-0.875, -0.75, -0.75), (0.875, 0.75, 0.75))  # cells 1 to 14, 2 to 13 and 2 to 13 of 16 of the cube [-1, 1]^3


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A field that is empty but for its middle and two opposite corners of that box."""
    trained: Any = tiny_teacher()
    sampler = OccupancySampler(resolution=16, n_steps=16)
    sampler.prepare(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    cells = torch.zeros(1, 16, 16, 16, dtype=torch.bool)
    cells[0, 1:4, 2:5, 2:5] = cells[0, 12:15, 11:14, 11:14] = True
    cells[0, 6:10, 6:10, 6:10] = True
    sampler.set_occupied(cells)
    trained.field.set_aabb(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    write_checkpoint(trained.replace(sampler=sampler), tmp_path / "teacher.ckpt")
    return tmp_path / "teacher.ckpt"


def student(teacher: Path | None, **options: Any) -> LightFieldModule:
    torch.manual_seed(0)
    field = with_grid(points_per_ray=12, finest_resolution=24, log2_table_size=14, **options).train()
    source = None if teacher is None else str(teacher)
    return LightFieldModule(field, partial(GridAdam, lr=1e-2), average=0.9, occupied_from=source, occupied_margin=0)


def train(module: LightFieldModule, folder: Path, steps: int = 3, ckpt: Path | None = None) -> Any:
    data: Any = ViewDataModule(TinyReader(size=24), batch_size=2)
    return quiet_fit(module, data, folder, steps, ckpt)


def taught(teacher: Path, folder: Path, **options: Any) -> LightFieldArtifact:
    module = student(teacher, **options)
    train(module, folder)
    return module.trained.replace(field=module.trained.field.eval())


def picture(trained: LightFieldArtifact) -> torch.Tensor:
    camera = trained.scene.camera
    return torch.cat([trained.draw(select_views(camera, [view])).rgb for view in range(3)])


def test_box_and_rows_are_those_of_what_the_teacher_sees(teacher: Path, tmp_path: Path) -> None:
    """Rows that positions in occupied cells read are not zero; others are, but for cells that overlap in part."""
    module = student(teacher)
    train(module, tmp_path)
    assert module.student is not None and module.field is not None and module.trained.scene.aabb == BOX
    for field in (module.student, module.field):
        assert torch.allclose(field.aabb, torch.tensor(BOX)) and field.grid is not None
        table = torch.zeros_like(field.grid.tables[1], requires_grad=True)
        box, blocks = torch.tensor(BOX), zip([[1, 2, 2], [6, 6, 6], [12, 11, 11]], (3, 4, 3))
        places = [-1 + (torch.tensor(first) + cells * torch.rand(20_000, 3)) / 8 for first, cells in blocks]
        inside = (torch.cat(places) - box[0]) / (box[1] - box[0])
        hash_encode(inside, [field.grid.tables[0].detach(), table], field.grid.geometry, "torch").sum().backward()
        assert table.grad is not None
        read, zero = (table.grad != 0).any(1), (field.grid.tables[1] == 0).all(1)
        assert not (read & zero).any() and zero.float().mean() > 0.5 and (read | zero).float().mean() > 0.93


def test_masked_rows_cost_next_to_nothing_and_pictures_are_the_same(teacher: Path, tmp_path: Path) -> None:
    trained = taught(teacher, tmp_path, batch_norm=False).for_coding()
    container = encode_artifact(trained, uniform_allocation(trained, -44))
    everything = trained.replace(field=copy.deepcopy(trained.field))
    with torch.no_grad():
        for name, weight in plain_parameters(everything.field).items():
            weight[weight == 0] = weight.std() * torch.randn(int((weight == 0).sum())) if "grid" in name else 0.0
    assert len(to_bytes(container)) < 0.7 * len(to_bytes(encode_artifact(everything, uniform_allocation(trained, -44))))
    decoded: Any = decode_artifact(container)
    assert decoded.scene.aabb == BOX and (picture(decoded) - picture(trained)).abs().max() < 1e-2


def test_a_stage_that_follows_keeps_box_and_zeros(teacher: Path, tmp_path: Path) -> None:
    first = taught(teacher, tmp_path)
    write_checkpoint(first, tmp_path / "student.ckpt")
    zeros = {
        name: value == 0 for name, value in plain_parameters(first.without_hooks().field).items() if "grid" in name
    }
    for source in (None, str(teacher)):
        follows = LightFieldModule(
            optimizer=partial(GridAdam, lr=1e-2), init_from=str(tmp_path / "student.ckpt"), occupied_from=source
        )
        train(follows, tmp_path)
        assert follows.trained.scene.aabb == BOX
        after = plain_parameters(follows.trained.without_hooks().field)
        assert all(torch.equal(after[name] == 0, zero) for name, zero in zeros.items())
    written = read_artifact(tmp_path / "student.ckpt")
    assert isinstance(written, LightFieldArtifact)
    write_checkpoint(slim(written, 0.5), tmp_path / "slim.ckpt")
    slimmer = LightFieldModule(
        optimizer=partial(GridAdam, lr=1e-2), init_from=str(tmp_path / "slim.ckpt"), occupied_from=str(teacher)
    )
    train(slimmer, tmp_path)
    after = plain_parameters(slimmer.trained.without_hooks().field)
    assert all(torch.equal(after[name] == 0, zero) for name, zero in zeros.items())


def test_a_resumed_run_needs_no_teacher_and_ends_as_one_that_was_never_stopped(teacher: Path, tmp_path: Path) -> None:
    train(student(teacher), tmp_path, 3).save_checkpoint(tmp_path / "first.ckpt")
    straight = student(teacher)
    train(straight, tmp_path, 6)
    teacher.unlink()
    resumed = student(teacher)
    train(resumed, tmp_path, 6, tmp_path / "first.ckpt")
    assert resumed.trained.scene.aabb == BOX
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in straight.state_dict().items())


def test_without_a_grid_the_box_alone_is_taken(teacher: Path, tmp_path: Path) -> None:
    module = LightFieldModule(shaken(in_box=True).train(), partial(GridAdam, lr=1e-2), occupied_from=str(teacher))
    train(module, tmp_path)
    assert module.trained.scene.aabb == BOX and not named_masks(module.trained.field)


def test_what_cannot_be_is_said(teacher: Path, tmp_path: Path) -> None:
    trained = taught(teacher, tmp_path)
    write_checkpoint(trained, tmp_path / "student.ckpt")
    with pytest.raises(CheckpointError, match="What is empty comes from"):
        train(student(tmp_path / "student.ckpt"), tmp_path)
    with pytest.raises(CheckpointError, match="none.ckpt"):
        train(student(tmp_path / "none.ckpt"), tmp_path)
    with pytest.raises(ValueError, match="occupied_margin"):
        LightFieldModule(with_grid(), occupied_margin=-1)
