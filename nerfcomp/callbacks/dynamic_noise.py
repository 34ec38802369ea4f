"""A noise that depends on the place, learned beside a field under variational dropout."""

import math
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from nerfcomp.errors import SettingsError


class DynamicNoise(Callback):
    """Weight squared errors by how much noise a small network expects where they are.

    The likelihood of errors e under a noise s(x) is ``-e^2 / (2 s^2) - log s``. Of its gradients, those of the field
    are those of errors weighted with ``1 / s^2``, here relative to the noise that `VariationalDropout` names; those of
    the network follow from the errors that the step finds. The network is thrown away in the end.

    Serves modules whose batches have ``x`` (N, D) and ``weights`` (N,) or (N, 1) of the squared errors, and whose
    training step returns ``squares``, those errors.

    Args:
        log_noise: ``log s`` at first and the noise that weights are relative to; that of the hooks.
        dimensions: D.
        width: Of the network's hidden layers.
        layers: Their number.
        lr: Learning rate of the network.
    """

    def __init__(
        self, log_noise: float = -3.5, dimensions: int = 3, width: int = 32, layers: int = 4, lr: float = 1e-3
    ) -> None:
        self.log_noise = log_noise
        sizes = [dimensions] + [width] * layers
        hidden = [part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b), nn.ReLU())]
        last = nn.Linear(width, 1)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, log_noise)
        self.network = nn.Sequential(*hidden, last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr)

    def state_dict(self) -> dict[str, Any]:
        """Network and optimizer, for checkpoints of the run."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with both."""
        self.network.load_state_dict(state_dict["network"])
        self.optimizer.load_state_dict(state_dict["optimizer"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the same network on every process."""
        self.network.to(pl_module.device)
        for parameter in self.network.parameters():
            parameter.data = trainer.strategy.broadcast(parameter.data)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Weight the errors of this batch."""
        with torch.no_grad():
            relative = 2 * (self.log_noise - self.network(batch.x))
            batch.weights.mul_(relative.exp().view_as(batch.weights))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Learn from the errors of this batch.

        Raises:
            SettingsError: The training step does not return them.
        """
        if not isinstance(outputs, dict) or "squares" not in outputs:
            raise SettingsError(
                f"DynamicNoise needs the squared errors of a step; {type(pl_module).__name__} does not return them as "
                "'squares'. Use VolumeModule, or leave the callback out."
            )
        loss = noise_loss(self.network(batch.x).reshape(-1), outputs["squares"].reshape(-1))
        self.optimizer.zero_grad()
        loss.backward()
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad = trainer.strategy.reduce(parameter.grad, reduce_op="mean")
        self.optimizer.step()
        pl_module.log("Log_Likelyhood_loss", loss.detach())


def noise_loss(log_noise: Tensor, squares: Tensor) -> Tensor:
    """Negative logarithm of the likelihood of errors, mean over points.

    Args:
        log_noise: ``log s`` (N,).
        squares: Squared errors (N,), without gradients.

    >>> round(float(noise_loss(torch.tensor([0.0]), torch.tensor([1.0]))), 4)
    1.4189
    """
    likelihood = -squares / (2 * (2 * log_noise).exp()) - (math.log(2 * math.pi) + 2 * log_noise) / 2
    return -likelihood.mean()
