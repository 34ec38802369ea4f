"""The front door of ``compress.py``: names, inputs, help, and how little of the program they load."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nerfcomp.codec import Container, write_container
from nerfcomp.commands.program import build_parser, find_command, help_text, main, positional_first
from nerfcomp.commands.table import COMMANDS
from nerfcomp.errors import NerfcompError
from tests.codec.samples import container

HEAVY = ("torch", "lightning", "numba", "numpy", "scipy", "matplotlib", "nncodec")
LOADED = "import sys; from nerfcomp.commands.program import run; run(); print(*sys.modules, file=sys.stderr)"
ORDER = """
import importlib.abc, os, sys
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            sys.exit(print("OMP_WAIT_POLICY is", os.environ.get("OMP_WAIT_POLICY")))
sys.meta_path.insert(0, Watch())
from nerfcomp.commands.program import run
run()
"""


def function(name: str) -> Callable[..., None]:
    module, _, called = COMMANDS[name].place.partition(":")
    found: Callable[..., None] = getattr(importlib.import_module(f"nerfcomp.commands.{module}"), called)
    return found


def in_process(code: str, *args: str | Path) -> "subprocess.CompletedProcess[str]":
    command, environment = [sys.executable, "-c", code, *map(str, args)], {
        "PYTHONPATH": ":".join(filter(None, sys.path))
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_container(tmp_path / "scene.nfc", container())
    return tmp_path / "scene.nfc"


@pytest.mark.parametrize("name", COMMANDS)
def test_summary_is_the_first_line_of_the_docstring(name: str) -> None:
    assert COMMANDS[name].summary == (inspect.getdoc(function(name)) or "").splitlines()[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_and_the_input_has_one_name(name: str) -> None:
    parser = build_parser(function(name), name)
    parameters = inspect.signature(function(name)).parameters
    positional = [action.dest for action in parser._actions if not action.option_strings]
    assert positional == (["first", "second"] if name in ("bdrate", "compare") else ["input"])
    assert {action.dest for action in parser._actions if action.help} >= parameters.keys()


def test_help_names_every_command_and_loads_none() -> None:
    result = in_process(LOADED, "--help")
    assert all(f"  {name} " in result.stdout for name in COMMANDS)
    assert not {"jsonargparse", *HEAVY} & set(result.stderr.split())


@pytest.mark.slow
def test_info_loads_only_what_it_needs(file: Path) -> None:
    result = in_process(LOADED, "info", file)
    assert "header, digest" in result.stdout
    assert "jsonargparse" in result.stderr.split() and not set(HEAVY) & set(result.stderr.split())


def test_process_is_prepared_before_torch_is_loaded() -> None:
    assert "OMP_WAIT_POLICY is PASSIVE" in in_process(ORDER, "decode", "--help").stdout


@pytest.mark.parametrize(
    ("words", "name", "rest"),
    [
        (["export", "onnx", "a"], "export onnx", ["a"]),
        (["export", "--ckpt", "a"], "export onnx", ["--ckpt", "a"]),
        (["export_nerf_pytorch", "--ckpt", "a"], "export nerf-pytorch", ["--ckpt", "a"]),
        (["import_nerf_pytorch", "a"], "import nerf-pytorch", ["a"]),
        (["export_ngp_pl", "--help"], "export ngp-pl", ["--help"]),
        (["info", "--help"], "info", ["--help"]),
        (["import"], "import", []),
        ([], "", []),
    ],
)
def test_names_of_now_and_before(words: list[str], name: str, rest: list[str]) -> None:
    assert find_command(words) == (name, rest)


@pytest.mark.parametrize("words", [["export", "onxx"], ["export", "a.ckpt"], ["deocde", "a"], ["--verzion"]])
def test_unknown_commands_end_in_a_sentence(words: list[str]) -> None:
    with pytest.raises(NerfcompError, match="it can export onnx|There is no command"):
        main(words)


def test_help_of_a_group_shows_the_group() -> None:
    assert "import ngp-pl" in help_text("import") and "encode " not in help_text("import")


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("encode", ["--out", "b", "a"], ["--out", "b", "a"]),
        ("encode", ["--out", "b", "--ckpt=a"], ["a", "--out", "b"]),
        ("evaluate", ["--file", "a", "--reader.file", "b"], ["a", "--reader.file", "b"]),
        ("bdrate", ["--second", "b", "--first", "a"], ["a", "b"]),
        ("bdrate", ["a", "--second", "b"], ["a", "b"]),
    ],
)
def test_inputs_of_now_and_before(name: str, args: list[str], expected: list[str]) -> None:
    assert positional_first(function(name), args) == expected


def test_former_option_reaches_the_command(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for args in ([str(file)], ["--file", str(file)], ["--input", str(file)]):
        caplog.clear()
        main(["info", *args])
        assert "header, digest" in caplog.text


def test_info_shows_values_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    write_container(tmp_path / "a.nfc", Container({**container().header, "writer": "100% ours"}, ()))
    main(["info", str(tmp_path / "a.nfc")])
    assert "writer: 100% ours" in caplog.text


@pytest.mark.slow
def test_a_reader_that_goes_ends_nothing(file: Path) -> None:
    program = "import sys; from nerfcomp.commands.program import run; run(); sys.stderr.write('worked on')"
    command = [sys.executable, "-c", program, "info", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == "worked on"
    assert process.returncode == 0


def test_what_is_misspelt_is_refused_in_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["encode", "a.ckpt", "--out", "b.nfc", "--max_drop", "3"])
    assert capsys.readouterr().err.splitlines() == [
        "Error: there is no option --max_drop.",
        "Did you mean --max_psnr_drop?",
        "compress.py encode --help says what there is.",
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["volume", "--target_ratio", "big"], "target_ratio is 'big'. Expected float."),
        (["volume", "--shape", "3"], "shape is '3'. Expected tuple[int, int, int]."),
        (["search", "--space", "latnt"], "space is 'latnt'. Expected one of 'hash_grid', 'latent_grid'."),
    ],
)
def test_values_of_a_wrong_type_are_refused_in_two_lines(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([words[0], "a.npy", "--out", "a", *words[1:]])
    assert capsys.readouterr().err.splitlines() == [
        f"Error: {sentence}",
        f"compress.py {words[0]} --help says what there is.",
    ]
