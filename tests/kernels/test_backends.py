"""The choice among implementations: by device, number type and what is installed; names are honoured or refused."""

import logging

import pytest
import torch

from nerfcomp.errors import MissingExtraError
from nerfcomp.kernels import backends
from nerfcomp.kernels.backends import choose_backend, prefer_backend

ON_CPU = torch.zeros(1)
ON_GPU = torch.empty(1, device="meta")  # stands for a GPU below: there may be none


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tensors on the meta device count as tensors on a GPU, with Triton installed."""

    def fits(twin: str, tensors: list[torch.Tensor], dtypes: list[torch.dtype]) -> bool:
        device = {"numba": "cpu", "triton": "meta"}[twin]
        return all(tensor.dtype in dtypes and tensor.device.type == device for tensor in tensors)

    monkeypatch.setattr(backends, "_fits", fits)


@pytest.mark.usefixtures("gpu")
def test_auto_takes_numba_on_cpus_triton_on_gpus_and_torch_for_other_types() -> None:
    assert choose_backend("march", "auto", [ON_CPU]) == "numba"
    assert choose_backend("march", "auto", [ON_GPU]) == "triton"
    assert choose_backend("march", "auto", [ON_GPU], twins=("numba",)) == "torch"
    assert choose_backend("march", "auto", [ON_CPU.double()]) == "torch"
    assert choose_backend("march", "auto", [ON_CPU.double()], dtypes=(torch.float64,)) == "numba"
    assert choose_backend("march", "auto", [ON_CPU, ON_GPU]) == "torch"


@pytest.mark.usefixtures("gpu")
def test_a_name_is_honoured_or_refused() -> None:
    assert choose_backend("march", "torch", [ON_GPU]) == "torch"
    assert choose_backend("march", "triton", [ON_GPU]) == "triton"
    with pytest.raises(ValueError, match="The numba march takes float32 tensors on the CPU, found float32 on meta"):
        choose_backend("march", "numba", [ON_GPU])
    with pytest.raises(ValueError, match="There is no numba kernel of the march"):
        choose_backend("march", "numba", [ON_CPU], twins=())
    with pytest.raises(ValueError, match="'cuda', allowed are auto, torch, numba, triton"):
        choose_backend("march", "cuda", [ON_CPU])  # type: ignore[arg-type]


def test_triton_on_the_cpu_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(backends, "triton_installed", lambda: True)
    with pytest.raises(ValueError, match="on a GPU .on the CPU only with TRITON_INTERPRET=1 .*found float32 on cpu"):
        choose_backend("march", "triton", [ON_CPU])
    monkeypatch.setattr(backends, "triton_installed", lambda: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'nerfcomp\[triton\]'"):
        choose_backend("march", "triton", [ON_CPU])


def test_a_preference_steers_auto_and_nothing_else() -> None:
    with prefer_backend("torch"):
        assert choose_backend("march", "auto", [ON_CPU]) == "torch"
        assert choose_backend("march", "numba", [ON_CPU]) == "numba"
    assert choose_backend("march", "auto", [ON_CPU]) == "numba"


def test_what_runs_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="nerfcomp.kernels.backends"):
        for _ in range(3):
            choose_backend("name of a test", "auto", [ON_CPU])
    assert [record.getMessage() for record in caplog.records] == ["The name of a test runs on cpu by its numba kernel."]
