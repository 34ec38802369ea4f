"""Golden files: compared byte for byte, rewritten only when GENERATE_EXPECTED=1 is set."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def check_expected(repository: Path) -> Callable[[str, bytes], None]:
    """Compare bytes with a file under tests/expected/codec; a missing file is an error."""

    def check(name: str, data: bytes) -> None:
        path = repository / "tests" / "expected" / "codec" / name
        if os.environ.get("GENERATE_EXPECTED") == "1":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        assert path.is_file(), f"{path} is missing; GENERATE_EXPECTED=1 writes it"
        assert path.read_bytes() == data, f"{name} changed; if that is meant, GENERATE_EXPECTED=1 rewrites it"

    return check
