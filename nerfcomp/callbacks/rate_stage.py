"""Training for few bits: the error of pictures and the bits of weights are made small together."""

import copy
import logging
import math
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.coded_tensors import SideQP, coded_tensors, side_qps
from nerfcomp.artifacts.nfc import BitAllocation, encode_artifact
from nerfcomp.codec import step_size, to_bytes
from nerfcomp.compression import rated_weights
from nerfcomp.errors import SettingsError
from nerfcomp.kernels.rate import round_levels
from nerfcomp.rate_control.prices import Prices, measure_prices
from nerfcomp.rate_control.pulls import Rated, add_price, pull, rated_by
from nerfcomp.rate_control.steps import rate_qps

logger = logging.getLogger(__name__)
_EVERY = 8  # steps between two pulls
_MEASURES = 50  # of prices over a run
_REST_QP = -36  # of weights without a hook
_GAIN = 0.25
_FREEZE = 0.8  # of runs with a target
_SEARCHES = 6  # halvings in the search for a dead zone
_WIDEST = 2.0  # steps, of a dead zone
_MOST_COARSER = 24  # QPs
_MARGIN = 0.997  # of the target, as networks still change when tables are frozen


class RateStage(Callback):
    """Makes ``loss + rd_lambda * bits / weights`` small and ends with weights that are values of the decoder.

    For weights with the hook `RateAware`. Their steps follow from what a bit may cost and what pictures feel, and are
    measured anew a few times. First noise stands for rounding, then weights are rounded in the forward pass. Bits pull
    weights towards zero, in the metric of the optimizer; tables' entries that no ray has read become zero. At last
    tables stand still at the decoder's values, and the networks behind them are tuned to these. A module offers
    ``trained``, and takes ``qps`` and ``rounded``; its optimizer is of Adam's family, or `MuonAdam`, whose matrices get
    the gradient of their bits instead of a pull.

    Args:
        rd_lambda: What one bit per weight may cost in loss; with ``target_bytes`` only where the search begins.
        target_bytes: Most bytes of the file; ``rd_lambda`` is steered until they are met.
        noise: Share before weights are rounded.
        ramp: Share in which the cost of bits grows to what it is to be.
        freeze: Share after which tables stand still, and networks are tuned to them; when absent 1, and 0.8 with
            ``target_bytes``, as networks have not seen what then makes the file fit.
        allocations: How often steps are measured before that.
        table: Part of the names of weights that are tables, which stand still first.
        start: Share of the run before anything happens, for fields that are not trained yet; the other shares are
            those of the rest.
        drop_unseen: Call cells empty that no view shows, nor its surroundings of a tenth of its size; for pictures from
            elsewhere keep them.

    Raises:
        ValueError: Shares that are not in order, or numbers that are not positive.
    """

    def __init__(
        self,
        rd_lambda: float = 1e-3,
        target_bytes: int | None = None,
        noise: float = 0.15,
        ramp: float = 0.15,
        freeze: float | None = None,
        allocations: int = 5,
        table: str = "grid",
        start: float = 0.0,
        drop_unseen: bool = True,
    ) -> None:
        freeze = (1.0 if target_bytes is None else _FREEZE) if freeze is None else freeze
        if not 0 < rd_lambda < math.inf or (target_bytes is not None and target_bytes < 1) or allocations < 1:
            raise ValueError(
                f"RateStage needs rd_lambda, target_bytes and allocations above 0, got {rd_lambda}, {target_bytes} and "
                f"{allocations}."
            )
        if not (0 <= noise < freeze <= 1 and 0 <= ramp < freeze and 0 <= start < 1):
            raise ValueError(
                f"RateStage needs noise and ramp below freeze, in [0, 1], and start in [0, 1), got {noise}, {ramp}, "
                f"{freeze} and {start}."
            )
        self.rd_lambda, self.target_bytes = rd_lambda, target_bytes
        self.noise, self.ramp, self.freeze, self.allocations, self.table = noise, ramp, freeze, allocations, table
        self.start, self.drop_unseen = start, drop_unseen
        self.qps: dict[str, int] = {}
        self.allocated, self.rest_bytes = 0, 0.0
        self._prices: dict[str, Prices] = {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        names = ("rd_lambda", "qps", "allocated", "rest_bytes")
        prices = {name: tuple(price) for name, price in self._prices.items()}
        return {name: getattr(self, name) for name in names} | {"prices": prices}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the run stood."""
        state = dict(state_dict)
        self._prices = {name: Prices(*price) for name, price in state.pop("prices", {}).items()}
        for name, value in state.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse runs without an end, without hooks or with an optimizer that keeps no squared gradients.

        Raises:
            SettingsError: It is one.
        """
        if trainer.estimated_stepping_batches == float("inf"):
            raise SettingsError("RateStage needs a run with an end: give --trainer.max_steps.")
        if not self._rated(trainer, pl_module):
            raise SettingsError(
                "RateStage found no weight to train for few bits: list RateAware under model.init_args.hooks."
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Say how weights are rounded in this step."""
        done, rated = self._done(trainer), self._rated(trainer, pl_module)
        if done < 0:
            return
        while done < self.freeze and done >= self.allocated * self.freeze / self.allocations:
            self._allocate(pl_module, rated)
        if done >= self.freeze:
            self._freeze(pl_module, {name: each for name, each in rated.items() if self.table in name})
        kind = "noise" if done < self.noise else "straight"
        for name, each in rated.items():
            step, function = step_size(self.qps[name]), each.function
            if function.rounding != "decoded" and (function.rounding != kind or float(function.step) != step):
                function.set(kind, step)  # type: ignore[arg-type]
            function.seed = trainer.global_step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Give matrices that are orthogonalized the gradient of their bits."""
        if not self._prices:
            return
        rated = self._rated(trainer, pl_module)
        per_bit = self._strength(trainer) * self._per_bit(rated)
        for name, each in rated.items():
            if each.function.rounding != "decoded":
                add_price(each, step_size(self.qps[name]), self._prices[name], per_bit)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Let bits pull; after the last step leave what the decoder will give."""
        step, total = trainer.global_step, int(trainer.estimated_stepping_batches)
        if step >= total:
            self._finish(trainer, pl_module)
            return
        if step % _EVERY or not self.qps:
            return
        rated = self._rated(trainer, pl_module)
        moving = {name: each for name, each in rated.items() if each.function.rounding != "decoded"}
        if not self._prices.keys() >= moving.keys() or step % max(_EVERY, total // _MEASURES) < _EVERY:
            self._measure(trainer, pl_module, rated)
        per_bit = self._strength(trainer) * self._per_bit(rated)
        for name, each in moving.items():
            pull(each, step_size(self.qps[name]), self._prices[name], _EVERY * per_bit)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how large the file is; a run that was stopped early ends here, too."""
        self._finish(trainer, pl_module)
        size = self._file_bytes(pl_module)
        logger.info("The file has %d bytes; one bit per weight costs a loss of %.3g", size, self.rd_lambda)

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave what the decoder will give, before any other callback looks at the end of the run."""
        self._freeze(pl_module, self._rated(trainer, pl_module))
        module = cast(Any, pl_module)
        module.qps, module.rounded = self._all_qps(pl_module), True

    def _done(self, trainer: Trainer) -> float:
        """Share of the run that is over; negative before the start."""
        share = trainer.global_step / max(int(trainer.estimated_stepping_batches), 1)
        return (share - self.start) / (1 - self.start)

    def _strength(self, trainer: Trainer) -> float:
        """Share of the cost of bits that is charged."""
        return min(1.0, self._done(trainer) / self.ramp) ** 2 if self.ramp > 0 else 1.0

    def _rated(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Rated]:
        """Weights that are trained for few bits."""
        return rated_by(trainer.optimizers, cast(Artifact, pl_module.trained).field)

    def _per_bit(self, rated: dict[str, Rated]) -> float:
        """What one bit may cost in loss."""
        return self.rd_lambda / sum(each.weight.numel() for each in rated.values())

    def _allocate(self, pl_module: LightningModule, rated: dict[str, Rated]) -> None:
        """Choose steps from what outputs feel now."""
        trained = cast(Artifact, pl_module.trained)
        with trained.evaluating():
            sensitivity = trained.sensitivity(seed=self.allocated)
        weights = {name: each.weight for name, each in rated.items()}
        steps = {name: step_size(qp) for name, qp in self.qps.items()}
        self.qps = rate_qps(self._per_bit(rated), weights, sensitivity, steps, layers=trained.bounded_layers())
        self.allocated += 1
        if self.allocated in (1, self.allocations):
            self.rest_bytes = 0.0
        self._prices = {}

    def _measure(self, trainer: Trainer, pl_module: LightningModule, rated: dict[str, Rated]) -> None:
        """Measure prices, and steer towards the target."""
        read = cast(Artifact, pl_module.trained).read_rows()
        coded = {n: each.weight[read[n]] if n in read else each.weight for n, each in rated.items()}
        self._prices = {name: measure_prices(weight, step_size(self.qps[name])) for name, weight in coded.items()}
        size = sum(price.bits for price in self._prices.values()) / 8
        if self.rest_bytes == 0.0:
            self.rest_bytes = max(self._bytes_when_lit(pl_module) - size, 1.0)
        size += self.rest_bytes
        pl_module.log("rate/bytes", size)
        pl_module.log("rate/lambda", self.rd_lambda)
        if self.target_bytes is not None and self.ramp < self._done(trainer) < self.freeze:
            off = math.log(size / (_MARGIN * self.target_bytes))
            self.rd_lambda *= math.exp(_GAIN * min(max(off, -1.0), 1.0))

    @torch.no_grad()
    def _freeze(self, pl_module: LightningModule, chosen: dict[str, Rated]) -> None:
        """Give weights the decoder's values, and let them stand still."""
        chosen = {name: each for name, each in chosen.items() if each.function.rounding != "decoded"}
        if not chosen:
            return
        every = rated_weights(cast(Artifact, pl_module.trained).field).values()
        late = any(function.rounding == "decoded" for function in every)
        if not late:
            self._keep_lit(pl_module)
        for each in chosen.values():
            if "exp_avg_sq" in each.state:
                each.weight.masked_fill_(each.state["exp_avg_sq"] == 0, 0.0)  # nothing has ever read it
        dead_zone = self._fitting_dead_zone(pl_module, chosen, 1.0 if late else _MARGIN)
        for name, each in chosen.items():
            each.function.set("decoded", step_size(self.qps[name]))
            round_levels(
                each.weight, step_size(self.qps[name]), each.weight, max(dead_zone, each.function.source.dead_zone)
            )

    def _keep_lit(self, pl_module: LightningModule) -> None:
        """Call empty what no view shows, which then takes no bytes."""
        trained = cast(Artifact, pl_module.trained)
        if self.drop_unseen:
            with trained.evaluating():
                trained.keep_lit()
        trained.keep_empty()  # a file that fits must not grow

    def _bytes_when_lit(self, pl_module: LightningModule) -> int:
        """Bytes of the file that would be made if what no view shows were empty already."""
        parts = cast(Artifact, pl_module.trained).modules()
        others = {name: part for name, part in parts.items() if name != "field"}
        states = {name: copy.deepcopy(part.state_dict()) for name, part in others.items()}
        self._keep_lit(pl_module)
        size = self._file_bytes(pl_module)
        for name, part in others.items():
            part.load_state_dict(states[name])
        return size

    def _fitting_dead_zone(self, pl_module: LightningModule, chosen: dict[str, Rated], share: float) -> float:
        """The smallest dead zone whose file fits into a share of the target; where none does, steps become coarser."""
        if self.target_bytes is None:
            return 0.5
        values = {name: each.weight.detach().clone() for name, each in chosen.items()}

        def fits(dead_zone: float) -> bool:
            for name, each in chosen.items():
                round_levels(values[name], step_size(self.qps[name]), each.weight.data, dead_zone)
            return self._file_bytes(pl_module) <= share * cast(int, self.target_bytes)

        low, high, coarser = 0.5, _WIDEST, 0
        while not fits(high) and coarser < _MOST_COARSER:
            self.qps |= {name: self.qps[name] + 1 for name in chosen}
            coarser += 1
        if fits(low):
            high = low
        for _ in range(_SEARCHES if high > low else 0):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if fits(middle) else (middle, high)
        for name, each in chosen.items():
            each.weight.copy_(values[name])
        return high

    def _all_qps(self, pl_module: LightningModule) -> dict[str, int]:
        """QP of every tensor of the field."""
        tensors = coded_tensors(cast(Artifact, pl_module.trained).field)
        rest = dict.fromkeys(tensors, _REST_QP) | side_qps(tensors, SideQP())
        return rest | self.qps

    def _file_bytes(self, pl_module: LightningModule) -> int:
        """Bytes of the file that the weights make as they are."""
        trained = cast(Artifact, pl_module.trained).replace(qp=None).for_coding()
        return len(to_bytes(encode_artifact(trained, BitAllocation(self._all_qps(pl_module), dependent=False))))
