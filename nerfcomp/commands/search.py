"""``compress.py search``: which settings give the best files of a volume at every size."""

import importlib
import logging
import multiprocessing
import os
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from nerfcomp.commands.search_results import TrialRow, show_front, write_results
from nerfcomp.commands.search_trial import SPACES, Range, Space, TrialJob, default_settings, read_result, run_trial
from nerfcomp.errors import MissingExtraError, NerfcompError
from nerfcomp.evaluation.report import write_json
from nerfcomp.files import refuse_overwrite
from nerfcomp.readers import VolumeHints, volume_reader

logger = logging.getLogger("compress")
_INITIAL = 5  # trials before a model of the results proposes
_POLL = 0.5  # seconds


def search(
    input: Path,
    out: Path,
    space: Space = "hash_grid",
    trials: int = 24,
    parallel: int = 2,
    steps: int = 600,
    min_ratio: float = 100.0,
    min_psnr: float = 30.0,
    seed: int = 0,
    dataset: str | None = None,
    axes: str | None = None,
    dtype: str | None = None,
    shape: tuple[int, int, int] | None = None,
    byte_order: str | None = None,
    resume: bool = False,
) -> None:
    """Search settings that give the best ratio and PSNR of a volume; the first trial is the default.

    Killed or stopped by Ctrl-C, it goes on with ``--resume true``.

    Args:
        input: The volume.
        out: Folder for the state, a folder per trial, trials.csv, pareto.csv, pareto.png and importance.csv.
        space: Which network is searched: a hash grid, or the latent grid of fV-SRN.
        trials: Number of trials.
        parallel: Trials at once, each in a process.
        steps: Training steps of a trial.
        min_ratio: Ratio against float32 below which a trial is of no interest.
        min_psnr: PSNR in dB below which a trial is of no interest.
        seed: Of the proposals, weights and points.
        dataset: Name of one volume among several in the file.
        axes: Order of the axes in the file, slowest first, as in zyx.
        dtype: Type of bare values, as in uint8.
        shape: Sizes of bare values along x, y and z.
        byte_order: Of bare values, little or big.
        resume: Go on with the search in ``out``.
    """
    if min(trials, parallel, steps) < 1:
        raise NerfcompError(f"Nothing to do with trials={trials}, parallel={parallel} and steps={steps}.")
    hints = VolumeHints(dataset=dataset, axes=axes, dtype=dtype, shape=shape, byte_order=byte_order)
    job = TrialJob(out, input, hints, space, {}, steps, seed, max(1, (os.cpu_count() or 1) // parallel))
    Search(job, trials, parallel, min_ratio, min_psnr, resume).run()


class Search:
    """A search and its state on disk.

    Args:
        job: What all trials share; its folder is that of the search.
        trials: Number of trials.
        parallel: Trials at once.
        min_ratio: Least ratio of interest.
        min_psnr: Least PSNR of interest.
        resume: Go on with what is in the folder.
    """

    def __init__(
        self, job: TrialJob, trials: int, parallel: int, min_ratio: float, min_psnr: float, resume: bool
    ) -> None:
        self.job, self.trials, self.parallel = job, trials, parallel
        self.state = job.folder / "ax.json"
        self.running = dict[int, BaseProcess]()
        client = load_ax()
        if resume:
            if not self.state.exists():
                raise NerfcompError(f"There is no search to resume in {job.folder}. Leave --resume out to start one.")
            self.client = client.load_from_json_file(str(self.state))
            return
        refuse_overwrite(self.state, force=False)
        shape = volume_reader(job.input, job.hints).read().values.shape
        self.client = client(random_seed=job.seed)
        self._configure(SPACES[job.space], min_ratio, min_psnr)
        self.client.attach_trial(parameters=default_settings(job.space, shape), arm_name="default")
        self.save()

    def _configure(self, space: Mapping[str, Range], min_ratio: float, min_psnr: float) -> None:
        """Say what is searched, and for what."""
        configs = importlib.import_module("ax.api.configs")
        parameters = [
            configs.RangeParameterConfig(
                name=name,
                bounds=(int(r.low), int(r.high)) if r.kind == "int" else (r.low, r.high),
                parameter_type=r.kind,
                scaling="log" if r.log else "linear",
            )
            for name, r in space.items()
        ]
        self.client.configure_experiment(parameters=parameters, name="volume")
        limits = [f"compression_ratio >= {min_ratio}", f"psnr >= {min_psnr}"]
        self.client.configure_optimization(objective="compression_ratio, psnr", outcome_constraints=limits)
        self.client.configure_generation_strategy(
            method="fast", initialization_budget=_INITIAL, initialization_random_seed=self.job.seed
        )

    def run(self) -> None:
        """Run until there are enough trials; what was running when a search ended is run again."""
        left = [row for row in self.rows() if row.status == "RUNNING"]
        for row in [row for row in left if read_result(self.folder(row.trial)) is not None]:
            self.finish(row.trial)
            left.remove(row)
        try:
            while left or self.running or len(self.rows()) < self.trials:
                while left and len(self.running) < self.parallel:
                    row = left.pop(0)
                    self.start(row.trial, row.settings)
                self._propose()
                self._collect()
        finally:
            for process in self.running.values():
                process.terminate()
        show_front(self.job.folder, self.rows())

    def _propose(self) -> None:
        """Start as many new trials as there is room for."""
        room = min(self.parallel - len(self.running), self.trials - len(self.rows()))
        if room <= 0:
            return
        proposed = self.client.get_next_trials(max_trials=room)
        self.save()
        for trial, settings in proposed.items():
            self.start(trial, dict(settings))

    def _collect(self) -> None:
        """Wait a little, and finish trials that have ended."""
        time.sleep(_POLL)
        for trial, process in list(self.running.items()):
            if not process.is_alive():
                del self.running[trial]
                self.finish(trial)

    def folder(self, trial: int) -> Path:
        """Folder of a trial."""
        return self.job.folder / f"trial_{trial:03d}"

    def start(self, trial: int, settings: dict[str, Any]) -> None:
        """Start the process of a trial."""
        folder = self.folder(trial)
        write_json(folder / "settings.json", settings)
        for name in ("result.json", "error.txt"):
            (folder / name).unlink(missing_ok=True)
        job = self.job._replace(folder=folder, settings=settings)
        process = multiprocessing.get_context("spawn").Process(target=run_trial, args=(job,), daemon=True)
        process.start()
        self.running[trial] = process

    def finish(self, trial: int) -> None:
        """Note how a trial has ended."""
        found, error = read_result(self.folder(trial)), self.folder(trial) / "error.txt"
        if found is not None:
            values = {name: float(found[name]) for name in ("compression_ratio", "psnr")}
            self.client.complete_trial(trial, raw_data=values)
            logger.info("Trial %d: %.1f:1, %.2f dB", trial, values["compression_ratio"], values["psnr"])
        else:
            reason = error.read_text().strip().splitlines()[-1] if error.exists() else "its process was killed"
            self.client.mark_trial_failed(trial, failed_reason=reason)
            logger.warning("Trial %d failed: %s", trial, reason)
        self.save()
        write_results(self.job.folder, self.rows())

    def save(self) -> None:
        """Keep the state, whole or not at all."""
        self.job.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.state.with_suffix(".new.json")
        self.client.save_to_json_file(str(temporary))
        os.replace(temporary, self.state)

    def rows(self) -> list[TrialRow]:
        """All trials so far."""
        rows, table = list[TrialRow](), self.client.summarize()
        for entry in table.to_dict("records"):
            trial = int(entry["trial_index"])
            kinds = {name: int if r.kind == "int" else float for name, r in SPACES[self.job.space].items()}
            settings = {name: kind(entry[name]) for name, kind in kinds.items()}
            found = read_result(self.folder(trial)) if entry["trial_status"] == "COMPLETED" else None
            figures = (0, 0.0, 0.0) if found is None else (found["bytes"], found["compression_ratio"], found["psnr"])
            rows.append(TrialRow(trial, str(entry["trial_status"]), int(figures[0]), *figures[1:], settings))
        return rows


def load_ax() -> Any:
    """The client class of Ax.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        client = importlib.import_module("ax.api.client").Client
    except ImportError as error:
        raise MissingExtraError("A search needs Ax: pip install 'nerfcomp[search]'.") from error
    # a search that is killed while botorch compiles a kernel leaves a lock that later ones wait for without end
    logei = importlib.import_module("botorch.acquisition.multi_objective.logei")
    logei._load_attempted = True  # type: ignore[attr-defined]
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "ax"]:
        logging.getLogger(name).setLevel(logging.ERROR)
    return client
