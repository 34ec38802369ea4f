import http.server
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.errors import CheckpointError, SettingsError
from tests.callbacks.tiny_cli import main

SHORT = ["--trainer.max_steps=2", "--trainer.limit_val_batches=0", "--trainer.callbacks=[]", "--model.record=null"]


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves ``tmp_path / served`` and returns its URL."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.slow
def test_remote_checkpoints_are_refused(tmp_path: Path, config: Path, server: str) -> None:
    torch.hub.set_dir(str(tmp_path / "hub"))
    (tmp_path / "served" / "last.ckpt").write_bytes(pickle.dumps(Payload(tmp_path / "executed")))
    schemes = (server, "s3://bucket", "file://" + str(tmp_path / "served"), "simplecache::" + server, "memory://x")
    for place in schemes:
        with pytest.raises(CheckpointError, match="is remote"):
            main(["fit", "--config", str(config), *SHORT, "--ckpt_path", f"{place}/last.ckpt"])
    assert not (tmp_path / "executed").exists()


@pytest.mark.slow
def test_remote_configurations_are_not_read(
    tmp_path: Path, config: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "served" / "tiny.yaml").write_text(config.read_text())
    with pytest.raises(SystemExit):
        main(["fit", "--config", f"{server}/tiny.yaml", *SHORT])
    assert "tiny.yaml" in capsys.readouterr().err


@pytest.mark.slow
def test_pickled_code_in_a_local_checkpoint_is_not_run(tmp_path: Path, config: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "payload": Payload(tmp_path / "executed")}, path)
    with pytest.raises(CheckpointError, match="nothing else is ever loaded"):
        main(["fit", "--config", str(config), *SHORT, "--ckpt_path", str(path)])
    with pytest.raises(SettingsError, match="weights_only"):
        main(["fit", "--config", str(config), *SHORT, "--ckpt_path", str(path), "--weights_only=false"])
    assert not (tmp_path / "executed").exists()


@pytest.mark.slow
def test_hyper_parameters_of_a_checkpoint_build_nothing(tmp_path: Path, config: Path) -> None:
    main(["fit", "--config", str(config), *SHORT, "--trainer.callbacks+=RunCheckpoint"])
    last = tmp_path / "runs" / "tiny" / "version_0" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    executed = tmp_path / "executed"
    content["hyper_parameters"] = {"pause": {"class_path": "pathlib.Path.touch", "init_args": {"self": str(executed)}}}
    torch.save(content, last)
    cli = main(["fit", "--config", str(config), *SHORT, "--trainer.max_steps=3", "--ckpt_path", str(last)])
    assert not executed.exists()
    assert cli.config.fit.model.pause == pytest.approx(0.03)

    content["hyper_parameters"] = {"no_such_argument": 1}  # Lightning's own merging refuses it
    torch.save(content, last)
    main(["fit", "--config", str(config), *SHORT, "--trainer.max_steps=3", "--ckpt_path", str(last)])


@pytest.mark.slow
def test_checkpoints_by_folder_and_by_sentence(tmp_path: Path, config: Path) -> None:
    main(["fit", "--config", str(config), *SHORT, "--trainer.callbacks+=RunCheckpoint"])
    run = tmp_path / "runs" / "tiny" / "version_0"
    cli = main(["fit", "--config", str(config), *SHORT, "--trainer.max_steps=3", "--ckpt_path", str(run)])
    assert cli.trainer.global_step == 3
    assert Path(str(cli.trainer.log_dir)) == run
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        main(["fit", "--config", str(config), *SHORT, "--ckpt_path", str(tmp_path / "missing.ckpt")])
    (tmp_path / "cut.ckpt").write_bytes((run / "checkpoints" / "last.ckpt").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        main(["fit", "--config", str(config), *SHORT, "--ckpt_path", str(tmp_path / "cut.ckpt")])


@pytest.mark.slow
@pytest.mark.parametrize("subcommand", ["test", "validate"])
def test_nothing_untrained_is_measured(config: Path, subcommand: str) -> None:
    with pytest.raises(SettingsError, match="--ckpt_path"):
        main([subcommand, "--config", str(config), *SHORT])


@pytest.mark.slow
def test_last_and_best_resume_what_they_say_or_refuse(tmp_path: Path, config: Path) -> None:
    fit = ["fit", "--config", str(config), *SHORT, "--trainer.callbacks+=RunCheckpoint"]
    for choice in ("last", "best"):
        with pytest.raises(CheckpointError, match=f"No version of .*tiny has a checkpoint called '{choice}'"):
            main([*fit, "--ckpt_path", choice])
    assert not (tmp_path / "runs").exists()
    for _ in range(2):
        main(fit)
    cli = main([*fit, "--trainer.max_steps=3", "--ckpt_path", "last"])
    assert cli.trainer.global_step == 3 and cli.config.fit.ckpt_path.endswith("tiny/version_1/checkpoints/last.ckpt")
    with pytest.raises(CheckpointError, match="configs/parts/best.yaml"):
        main([*fit, "--ckpt_path", "best"])
    folder = tmp_path / "runs" / "tiny" / "version_0" / "checkpoints"
    (folder / "last.ckpt").rename(folder / "best-v1.ckpt")
    cli = main([*fit, "--trainer.max_steps=4", "--ckpt_path", "best"])
    assert cli.trainer.global_step == 4 and cli.config.fit.ckpt_path.endswith("version_0/checkpoints/best-v1.ckpt")
    with pytest.raises(CheckpointError, match="needs a RunLogger"):
        main([*fit, "--trainer.logger=false", "--ckpt_path", "last"])
