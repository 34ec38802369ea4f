"""Lightning's averaging of weights with a radiance field, whose sampler must not be averaged."""

from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor

from nerfcomp.fields import NGPField
from nerfcomp.modules import RadianceFieldModule
from nerfcomp.rendering import OccupancySampler
from tests.tiny import tiny_data

DECAY, STEPS = 0.7, 12


class Record(Callback):
    """Keeps one matrix after every step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.seen.append(weight(pl_module))


def weight(module: LightningModule) -> Tensor:
    assert isinstance(module, RadianceFieldModule) and isinstance(module.field, NGPField)
    return module.field.rgb_mlp.matrices[0].detach().clone()


@pytest.mark.slow
def test_a_run_ends_with_the_average_of_its_steps() -> None:
    """The average starts at the first step: ``a <- decay a + (1 - decay) w`` after every later one."""
    torch.manual_seed(0)
    field = NGPField(levels=2, log2_table_size=8, finest_resolution=32, hidden_width=8, backend="torch")
    module = RadianceFieldModule(field, OccupancySampler(resolution=16, n_steps=32, update_every=4, warmup_steps=8))
    record, start = Record(), weight(module)
    average = EMAWeightAveraging(decay=DECAY, use_buffers=False)
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_steps=STEPS, callbacks=[record, average], **options)
    trainer.fit(module, tiny_data())
    expected = record.seen[0]
    for seen in record.seen[1:]:
        expected = DECAY * expected + (1 - DECAY) * seen
    assert len(record.seen) == STEPS and not torch.allclose(start, expected)
    torch.testing.assert_close(weight(module), expected)
    assert module.sampler.occupied.dtype == torch.bool
