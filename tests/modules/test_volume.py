from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train
from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.nfc import read_nfc, write_nfc
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.codec import dequantize, quantize, step_size
from nerfcomp.evaluation.slab_error import measure_slab
from nerfcomp.fields.volume_design import suited_field
from nerfcomp.rate_control.targets import RateTarget, encode_for
from tests.modules.volume_config import CONFIG, settings


def fit(folder: Path, *args: str, **options: Any) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG % settings(folder, **options))
    return train.main(["fit", "--config", str(folder / "config.yaml"), *args])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fit(tmp_path_factory.mktemp("volume"), steps=80, batch=1024)


@pytest.mark.slow
def test_the_file_meets_its_target_and_decodes_to_what_was_trained(trained: Any, tmp_path: Path) -> None:
    artifact: VolumeArtifact = trained.model.trained
    container = encode_for(artifact, RateTarget())
    size = write_nfc(container, tmp_path / "v.nfc")
    assert 1500 < size <= 3000
    decoded = read_nfc(tmp_path / "v.nfc", trust=True)
    assert isinstance(decoded, VolumeArtifact)
    np.testing.assert_array_equal(decoded.values(), artifact.values())
    for name, value in artifact.field.named_parameters():
        if "weight" in name:
            assert torch.equal(value, dict(decoded.field.named_parameters())[name])
    truth = trained.datamodule.volume.values
    error = measure_slab(decoded, 0, truth)
    scale = truth.max() - truth.min()
    by_hand = 10 * np.log10(float(scale) ** 2 / np.mean((decoded.values().astype(float) - truth) ** 2))
    assert error.psnr == pytest.approx(by_hand) and error.psnr > 12
    assert error.largest == pytest.approx(np.abs(decoded.values().astype(float) - truth).max() / scale * 2)


@pytest.mark.slow
def test_a_checkpoint_keeps_what_training_has_rounded(trained: Any, tmp_path: Path) -> None:
    artifact: VolumeArtifact = trained.model.trained
    write_checkpoint(artifact, tmp_path / "v.ckpt")
    again = read_checkpoint(tmp_path / "v.ckpt")
    assert again.qp is not None and again.qp == artifact.qp and again.rounded
    assert encode_for(again, RateTarget()).to_bytes() == encode_for(artifact, RateTarget()).to_bytes()
    for name, value in artifact.field.named_parameters():
        if "grid" in name:
            values = value.detach().numpy()
            np.testing.assert_array_equal(dequantize(quantize(values, again.qp[name], dependent=False)), values)
            assert np.all(values == np.rint(values / step_size(-13)) * np.float32(step_size(-13)))


@pytest.mark.slow
def test_a_resumed_run_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    kept = f"{{every_n_train_steps: 12, save_top_k: -1, filename: at, dirpath: {tmp_path}}}"
    whole = fit(tmp_path / "whole", steps=20, more=f"- {{class_path: ModelCheckpoint, init_args: {kept}}}")
    checkpoint = tmp_path / "at.ckpt"
    resumed = fit(tmp_path / "rest", "--ckpt_path", str(checkpoint), steps=20)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)
    assert resumed.model.qps == whole.model.qps


def test_fields_grow_with_the_bytes_and_follow_the_lattice() -> None:
    sizes = [suited_field((256, 256, 256), target).arguments["log2_table_size"] for target in (53176, 89838, 147490)]
    assert sizes == [15, 16, 17]
    assert suited_field((64, 91, 30), 10000).arguments["finest_resolution"] == 46
    assert suited_field((1, 1, 1), 1).arguments["base_resolution"] == 2
