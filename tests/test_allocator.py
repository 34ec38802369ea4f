"""The advice to the memory allocator."""

import resource
import sys

import pytest
import torch

from nerfcomp.allocator import keep_large_blocks


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="speaks to glibc")
def test_freed_blocks_are_used_again() -> None:
    """A block of megabytes that was touched before costs no page faults when it is asked for again."""
    assert keep_large_blocks()
    torch.ones(2**21)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**21)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2**21 * 4 // 4096
