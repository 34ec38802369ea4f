"""Where models compute: the option of every command, and what is read."""

from pathlib import Path

import pytest
import torch

from nerfcomp import devices
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.commands.program import main
from nerfcomp.devices import finish, use_device, used_device
from nerfcomp.errors import SettingsError
from tests.modules.tiny_fields import save, tiny_ngp


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "gpu", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"There is no device '{name}': cpu, cuda and cuda:N are allowed"):
        use_device(name)
    with pytest.raises(SettingsError, match="a GPU needs a CUDA build"):
        main(["info", "nothing.nfc", "--device", name])
    assert used_device() == torch.device("cpu")


def test_clocks_are_read_when_a_gpu_has_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    finish(torch.device("cpu"))
    finish(torch.device("cuda", 1))
    assert waited == [torch.device("cuda", 1)]


def test_what_is_read_computes_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    field, sampler = tiny_ngp()
    file = save(field, sampler, tmp_path / "field.ckpt")
    assert read_artifact(file).device.type == "cpu"
    monkeypatch.setattr(devices, "_used", ["meta"])  # as if it were a GPU
    read = read_artifact(file)
    assert read.device.type == "meta"
    assert all(value.is_meta for module in read.modules().values() for value in module.state_dict().values())
