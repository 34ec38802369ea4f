"""A student that reads its grid where its teacher sees something, in the least box about all of that."""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.artifact import OCCUPANCY
from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, uniform_allocation
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.codec import to_bytes
from nerfcomp.compression import plain_parameters
from nerfcomp.datamodules import ViewDataModule
from nerfcomp.errors import CheckpointError
from nerfcomp.geometry.cameras import select_views
from nerfcomp.modules import LightFieldModule
from nerfcomp.optim import GridAdam
from nerfcomp.rate_control.slimming import slim
from nerfcomp.rendering import OccupancySampler
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
    field = with_grid(
        points_per_ray=12, occupancy_resolution=8, finest_resolution=24, log2_table_size=14, **options
    ).train()
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


def test_box_and_cells_are_those_of_the_teacher(teacher: Path, tmp_path: Path) -> None:
    """Eight cells along 14, 12 and 12 of the teacher's, of which some overlap what is occupied by a part only."""
    module = student(teacher)
    train(module, tmp_path)
    assert module.student is not None and module.field is not None
    for field in (module.student, module.field):
        assert torch.allclose(field.aabb, torch.tensor(BOX))
        cells = [cell for pair in ((0, 1), (2, 3, 4, 5), (6, 7)) for cell in itertools.product(pair, repeat=3)]
        assert [tuple(cell) for cell in field.occupied[0].nonzero().tolist()] == cells
    assert module.trained.scene.aabb == BOX


def test_features_are_zero_in_empty_cells_and_outside(teacher: Path, tmp_path: Path) -> None:
    field = taught(teacher, tmp_path).field
    assert field.grid is not None
    inside = torch.tensor([[0.3, 0.2, 0.2], [0.24, 0.01, 0.2], [0.9, 0.8, 0.8], [-0.01, 0.2, 0.2], [0.9, 0.8, 1.1]])
    features = field.seen(field.grid(inside), inside)
    assert torch.equal(features[1:3], field.grid(inside)[1:3]) and bool(features[1:3].all())
    assert not features[[0, 3, 4]].any()


def test_a_file_leaves_out_rows_and_draws_the_same(teacher: Path, tmp_path: Path) -> None:
    trained = taught(teacher, tmp_path, batch_norm=False)
    container = encode_artifact(trained, uniform_allocation(trained, -44))
    everything = trained.replace(field=trained.field.folded())
    everything.field.set_occupied(torch.ones_like(trained.field.occupied))
    assert len(to_bytes(container)) < len(to_bytes(encode_artifact(everything, uniform_allocation(everything, -44))))
    decoded: Any = decode_artifact(container)
    assert torch.equal(decoded.field.occupied, trained.field.occupied) and decoded.scene.aabb == BOX
    rows = trained.read_rows()["grid.levels.1.weight"]
    weights = plain_parameters(decoded.field)["grid.levels.1.weight"]
    assert 0 < int(rows.sum()) < 0.95 * len(rows) and not weights[~rows].any()
    assert (picture(decoded) - picture(trained)).abs().max() < 1e-2


def test_rows_that_are_left_out_are_in_no_picture(teacher: Path, tmp_path: Path) -> None:
    trained = taught(teacher, tmp_path)
    before = picture(trained)
    weights = plain_parameters(trained.field)
    with torch.no_grad():
        for name, rows in trained.read_rows().items():
            weights[name][~rows] = 7.0
        assert torch.equal(picture(trained), before)
        for name, rows in trained.read_rows().items():
            weights[name][rows] = 7.0
    assert not torch.equal(picture(trained), before)


def test_every_form_of_the_student_knows_what_is_empty(teacher: Path, tmp_path: Path) -> None:
    trained = taught(teacher, tmp_path, tail_blocks=(1, 0))
    write_checkpoint(trained, tmp_path / "student.ckpt")
    written = read_artifact(tmp_path / "student.ckpt")
    assert isinstance(written, LightFieldArtifact)
    for form in (trained.field.folded(), trained.field.merged(), written.field, slim(written, 0.5).field):
        assert torch.equal(form.occupied, trained.field.occupied) and torch.equal(form.aabb, trained.field.aabb)


def test_a_resumed_run_needs_no_teacher_and_ends_as_one_that_was_never_stopped(teacher: Path, tmp_path: Path) -> None:
    train(student(teacher), tmp_path, 3).save_checkpoint(tmp_path / "first.ckpt")
    straight = student(teacher)
    train(straight, tmp_path, 6)
    teacher.unlink()
    resumed = student(teacher)
    train(resumed, tmp_path, 6, tmp_path / "first.ckpt")
    assert resumed.trained.scene.aabb == BOX
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in straight.state_dict().items())


def test_a_student_that_keeps_no_cells_takes_the_box_alone(teacher: Path, tmp_path: Path) -> None:
    module = LightFieldModule(with_grid().train(), partial(GridAdam, lr=1e-2), occupied_from=str(teacher))
    train(module, tmp_path)
    assert module.trained.scene.aabb == BOX and OCCUPANCY not in module.trained.exact_tensors()


def test_what_cannot_be_is_said(teacher: Path, tmp_path: Path) -> None:
    trained = taught(teacher, tmp_path)
    write_checkpoint(trained, tmp_path / "student.ckpt")
    with pytest.raises(CheckpointError, match="What is empty comes from"):
        train(student(tmp_path / "student.ckpt"), tmp_path)
    with pytest.raises(CheckpointError, match="none.ckpt"):
        train(student(tmp_path / "none.ckpt"), tmp_path)
    with pytest.raises(ValueError, match="occupancy_resolution"):
        with_grid(grid_levels=0, occupancy_resolution=8)
    with pytest.raises(ValueError, match="occupied_margin"):
        LightFieldModule(with_grid(), occupied_margin=-1)
