"""Training towards a file of given bytes: weights are rounded as the decoder will, and bits are part of the loss."""

import logging
import math
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.coded_tensors import SideQP, coded_tensors
from nerfcomp.artifacts.nfc import BitAllocation, encode_artifact
from nerfcomp.codec import step_size, to_bytes
from nerfcomp.compression import plain_parameters
from nerfcomp.compression.rate import LevelRates, measure_rates, rate_gradient, round_to_step
from nerfcomp.errors import SettingsError

logger = logging.getLogger(__name__)
_SLOPE = 1.6  # d ln(loss) / d ln(bits) of a trained field, where the search for lambda starts
_UPDATES = 80  # of lambda over a run
_GAIN = 0.3
_DEAD_ZONES = 8  # halvings in the search for one
_MARGIN = 0.997  # of the target, as the head still changes when the grid is frozen


class RateControl(Callback):
    """Ends a run with weights that are multiples of their steps, and a file of at most so many bytes.

    Four phases: without rounding; rounded in the forward pass, the weight of bits in the loss growing; that weight
    controlled so that the estimated size meets the target; and last, the grid frozen at levels that fit and the head
    tuned to it. Between steps the parameters are those before rounding. A module offers ``trained``, and takes ``qps``.

    Args:
        target_bytes: Most bytes of the whole file.
        qp: Of the tensors that have a rate.
        head_qp: Of all other weights.
        pattern: Names of tensors that have a rate contain it.
        start: Share of the run before rounding.
        control: Share of the run after which the weight of bits is controlled.
        freeze: Share of the run after which the grid stays as it is.
        largest_loss: Loss above which the weight of bits does not grow with it.

    Raises:
        ValueError: Shares that are not in order, or no bytes.
    """

    def __init__(
        self,
        target_bytes: int,
        qp: int = -13,
        head_qp: int = -36,
        pattern: str = "grid",
        start: float = 0.15,
        control: float = 0.3,
        freeze: float = 0.9,
        largest_loss: float = 0.003,
    ) -> None:
        if target_bytes < 1 or not 0 <= start < control < freeze <= 1:
            raise ValueError(
                f"RateControl needs target_bytes >= 1 and 0 <= start < control < freeze <= 1, got {target_bytes}, "
                f"{start}, {control} and {freeze}."
            )
        self.target_bytes, self.qp, self.head_qp, self.pattern = target_bytes, qp, head_qp, pattern
        self.start, self.control, self.freeze, self.largest_loss = start, control, freeze, largest_loss
        self.rd_lambda, self.loss, self.coded_share, self.frozen = 0.0, 1.0, 1.0, False
        self._rates: dict[str, LevelRates] = {}
        self._before: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"rd_lambda": self.rd_lambda, "loss": self.loss, "coded_share": self.coded_share, "frozen": self.frozen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the run stood."""
        self.rd_lambda, self.loss = float(state_dict["rd_lambda"]), float(state_dict["loss"])
        self.coded_share, self.frozen = float(state_dict["coded_share"]), bool(state_dict["frozen"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Round for this step."""
        done = self._done(trainer)
        if done < self.start:
            return
        if done >= self.freeze and not self.frozen:
            self._freeze(pl_module)
        if not self.frozen:
            self._steer(trainer, pl_module, done)
        with torch.no_grad():
            for name, weight in self._weights(pl_module).items():
                self._before[name] = weight.detach().clone()
                weight.copy_(round_to_step(weight, self._step(name)))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Take the rounding back, and add the gradient of the bits."""
        weights = self._weights(pl_module)
        with torch.no_grad():
            for name, value in self._before.items():
                weights[name].copy_(value)
            self._before = {}
            for name, weight in self._rated(weights).items():
                if self.frozen:
                    weight.grad = None
                elif weight.grad is not None and name in self._rates and self.rd_lambda > 0:
                    bits = rate_gradient(weight, self._step(name), self._rates[name])
                    weight.grad.add_(bits, alpha=self.rd_lambda)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Follow the loss."""
        loss = float(outputs["loss"].detach())
        self.loss = loss if trainer.global_step <= 1 else 0.97 * self.loss + 0.03 * loss

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave what the decoder will give."""
        if not self.frozen:
            self._freeze(pl_module)
        parameters = plain_parameters(cast(Artifact, pl_module.trained).field)
        with torch.no_grad():
            for name, qp in self._qps(pl_module).items():
                if name in parameters:
                    parameters[name].copy_(round_to_step(parameters[name], step_size(qp)))
        size = self._file_bytes(pl_module)
        logger.info(
            "The file has %d bytes of at most %d; a bit costs a loss of %.3g", size, self.target_bytes, self.rd_lambda
        )

    def _done(self, trainer: Trainer) -> float:
        """Share of the run that is over."""
        total = trainer.estimated_stepping_batches
        if total == float("inf"):
            raise SettingsError("RateControl needs a run with an end: give --trainer.max_steps.")
        return trainer.global_step / max(int(total), 1)

    def _steer(self, trainer: Trainer, pl_module: LightningModule, done: float) -> None:
        """Set the weight of a bit."""
        every = max(1, int(trainer.estimated_stepping_batches) // _UPDATES)
        due = trainer.global_step % every == 0 or not self._rates
        if due:
            rated = self._rated(self._weights(pl_module))
            self._rates = {name: measure_rates(weight, self._step(name)) for name, weight in rated.items()}
            size = sum(rate.bits for rate in self._rates.values()) / 8
            pl_module.log("rate/bytes", size * self.coded_share)
            pl_module.log("rate/lambda", self.rd_lambda)
        if done < self.control:
            ramp = ((done - self.start) / (self.control - self.start)) ** 2
            self.rd_lambda = 0.5 * ramp * _SLOPE * min(self.loss, self.largest_loss) / (8 * self.target_bytes)
        elif due:
            if trainer.global_step // every % 5 == 0:
                self.coded_share = self._file_bytes(pl_module) / size
            off = math.log(size * self.coded_share / (self.target_bytes * _MARGIN))
            self.rd_lambda *= math.exp(_GAIN * min(max(off, -1.0), 1.5))

    def _freeze(self, pl_module: LightningModule) -> None:
        """Fix levels that fit into the target: those of the smallest dead zone that does it."""
        rated = self._rated(self._weights(pl_module))
        values = {name: weight.detach().clone() for name, weight in rated.items()}

        def size(dead_zone: float) -> int:
            with torch.no_grad():
                for name, weight in rated.items():
                    weight.copy_(round_to_step(values[name], self._step(name), dead_zone))
            return self._file_bytes(pl_module)

        low, high = 0.5, 4.0
        if size(low) > self.target_bytes * _MARGIN:
            for _ in range(_DEAD_ZONES):
                middle = 0.5 * (low + high)
                low, high = (low, middle) if size(middle) <= self.target_bytes * _MARGIN else (middle, high)
            size(high)
        self.frozen = True
        pl_module.qps = self._qps(pl_module)  # type: ignore[assignment]

    def _file_bytes(self, pl_module: LightningModule) -> int:
        """Bytes of the file that the weights make as they are."""
        trained = cast(Artifact, pl_module.trained).replace(qp=None)
        allocation = BitAllocation(self._qps(pl_module), dependent=False)
        return len(to_bytes(encode_artifact(trained, allocation)))

    def _qps(self, pl_module: LightningModule) -> dict[str, int]:
        """QP of every tensor of the field."""
        weights = self._weights(pl_module)
        names = coded_tensors(cast(Artifact, pl_module.trained).field)
        return {name: self._qp(name) if name in weights else SideQP().bias for name in names}

    def _qp(self, name: str) -> int:
        return self.qp if self.pattern in name else self.head_qp

    def _step(self, name: str) -> float:
        return step_size(self._qp(name))

    def _weights(self, pl_module: LightningModule) -> dict[str, nn.Parameter]:
        """Weights of the field, which are rounded."""
        parameters = plain_parameters(cast(Artifact, pl_module.trained).field)
        return {name: value for name, value in parameters.items() if value.dim() > 1}

    def _rated(self, weights: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Those that have a rate."""
        return {name: weight for name, weight in weights.items() if self.pattern in name}
