"""Settings and fixtures shared by all tests."""

import os
from pathlib import Path

from nerfcomp.process import prepare_process

os.environ.setdefault("MPLBACKEND", "Agg")
prepare_process()  # before torch is loaded

import hypothesis
import pytest
import torch

import nerfcomp

REPOSITORY = Path(nerfcomp.__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real scenes: NERFCOMP_DATA or ``../shared/data``; a test that needs it skips where it is absent."""
    folder = Path(os.environ.get("NERFCOMP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared scenes: no folder {folder} (NERFCOMP_DATA names another place)")
    return folder


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Same random numbers in every test, whichever tests ran before."""
    torch.manual_seed(0)


def pytest_configure() -> None:
    """Leave room for the other processes of the machine, and let no test fail because the machine is busy."""
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    hypothesis.settings.register_profile("nerfcomp", deadline=None, derandomize="CI" in os.environ)
    hypothesis.settings.load_profile("nerfcomp")
