"""What processes tell each other in a step: their numbers of rays, and gradients of tables without the zeros.

`DistributedDataParallel` sends whole gradients and all buffers. Of a hash grid's tables a step touches few rows, and an
occupancy grid follows on every process from the same answers; both are left out there and looked after here.
"""

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nerfcomp.devices import sent
from nerfcomp.kernels.nonzero import merge_nonzero, pack_nonzero, packable, word_count
from nerfcomp.process import in_group

logger = logging.getLogger(__name__)
_SHARED_FOLDER = Path("/dev/shm")  # memory that processes of one machine may share


def several_processes() -> bool:
    """Whether there is anyone to exchange with."""
    return in_group() and dist.get_world_size() > 1


class RankShares:
    """How much the mean over this process's rays counts in the mean over the rays of all processes.

    Gradients are averaged over processes as if all had used the same number of rays. A loss times its share makes the
    average the gradient of the mean over all rays. The numbers are on their way from the start until they are needed.

    Args:
        counts: Numbers of rays (or of whatever a loss is the mean over) of this process, one per loss; a tensor where
            only the device knows them.
        device: Where the process computes.

    >>> RankShares([3, 5], torch.device("cpu")).wait().tolist()
    [1.0, 1.0]
    """

    def __init__(self, counts: Sequence[int] | Tensor, device: torch.device) -> None:
        self._own = sent(torch.as_tensor(counts, dtype=torch.float64), device)
        self._total = self._own.clone()
        self._work = dist.all_reduce(self._total, async_op=True) if several_processes() else None

    def wait(self) -> Tensor:
        """Shares (K,) float32; 1 where there is one process or all have the same number."""
        if self._work is None:
            return torch.ones_like(self._own, dtype=torch.float32)
        self._work.wait()
        return (dist.get_world_size() * self._own / self._total).float()


def sparse_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Trained parameters of modules that say of themselves, with ``sparse_gradient``, that a step touches few rows."""
    for prefix, part in module.named_modules():
        if getattr(part, "sparse_gradient", False):
            named = part.named_parameters(prefix)
            yield from ((name, parameter) for name, parameter in named if parameter.requires_grad)


def agreed_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers of modules that say, with ``agreed``, that they come out the same on every process."""
    for prefix, part in module.named_modules():
        if getattr(part, "agreed", False):
            yield from part.named_buffers(prefix, recurse=False)


class SparseExchange:
    """Averages gradients over processes, sending only what is not zero.

    Every process packs its gradients (`nerfcomp.kernels.nonzero`), gets the messages of all, and adds them up in the
    order of processes, so that all end with the same bits. Processes of one machine read each other's messages in
    shared memory; where that is not possible they are sent. Gradients that cannot be packed are averaged whole.

    Args:
        parameters: What is trained, the same on every process.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self._words = word_count(self.parameters)
        self._length = self._words + sum(p.numel() // 2 for p in self.parameters) + 1
        shape = (2, dist.get_world_size(), self._length)  # two in turn: one is written while the other may be read
        shared = _shared_memory(shape) if self.parameters[0].device.type == "cpu" else None
        self._shared = shared
        self._own = torch.zeros(self._length, dtype=torch.int64, device=self.parameters[0].device)
        self._turn = 0

    def average(self) -> None:
        """Replace ``grad`` of every parameter by its mean over all processes."""
        gradients = []
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.contiguous()
            gradients.append(parameter.grad)
        messages = self._messages(gradients) if packable(gradients) else None
        if messages is not None:
            words, values = messages[:, : self._words], messages[:, self._words :]
            merge_nonzero(gradients, words, values, 1 / dist.get_world_size())
            return
        for gradient in gradients:
            dist.all_reduce(gradient)
            gradient /= dist.get_world_size()

    def _messages(self, gradients: Sequence[Tensor]) -> Tensor | None:
        """Messages (R, length) of all processes; none when sending whole gradients is cheaper."""
        self._turn ^= 1
        own = self._own if self._shared is None else self._shared[self._turn, dist.get_rank()]
        count = pack_nonzero(gradients, own[: self._words], own[self._words :])
        counts = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=own.device)
        counts[dist.get_rank()] = count
        dist.all_reduce(counts)  # whoever is through has packed, and has read what was packed before
        if self._shared is not None:
            return self._shared[self._turn]
        length = self._words + int(counts.max()) + 1
        if len(counts) * length > 2 * self._length:
            return None
        messages = [own.new_empty(length) for _ in counts]
        dist.all_gather(messages, own[:length])
        return torch.stack(messages)


def _shared_memory(shape: tuple[int, ...]) -> Tensor | None:
    """Zeros (int64) that all processes share; none unless they run on one machine with enough of such memory."""
    path = [_reserve(8 * torch.Size(shape).numel()) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(path)
    found = None
    if path[0] is not None and os.path.exists(path[0]):
        found = torch.from_file(path[0], shared=True, size=torch.Size(shape).numel(), dtype=torch.int64).view(shape)
    everyone = torch.tensor(int(found is not None))
    dist.all_reduce(everyone, dist.ReduceOp.MIN)
    if dist.get_rank() == 0 and path[0] is not None:
        os.unlink(path[0])  # it lives on for those who have opened it
    return found if int(everyone) else None


def _reserve(size: int) -> str | None:
    """Make a file of zeros in shared memory; none where there is not enough of it."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="nerfcomp-", dir=_SHARED_FOLDER)
    except OSError:
        return None
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        logger.info("No shared memory of %d bytes (%s); gradients are sent instead.", size, error)
        os.unlink(path)
        return None
    finally:
        os.close(descriptor)
    return path
