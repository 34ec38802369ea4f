"""Rules of the house that a reader of one file cannot see: what may import what, and habits that are banned."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import nerfcomp
from nerfcomp import fields

ROOT = Path(nerfcomp.__file__).resolve().parent.parent
PACKAGE = ROOT / "nerfcomp"
SCRIPTS = ("train.py", "compress.py")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60

# docs/architecture.md shows the same table: a part may import itself, the ground floor and what stands here
GROUND = {"process", "devices", "lazy", "errors", "option_errors", "files", "descriptions", "limits", "__init__"}
SCIENCE = {"fields", "rendering", "readers", "compression", "codec"}
BELOW_MODELS = {"geometry", "kernels", *SCIENCE}
MODELS = {"artifacts", "rate_control", "evaluation", "exchange"}
NAMED_IN_FRONT = {"api", "geometry"}  # by nerfcomp itself, which loads them when they are asked for
BELOW_SHELLS = {"optim", *BELOW_MODELS, *MODELS}
MAY_IMPORT: dict[str, set[str]] = {
    "geometry": set(),
    "kernels": set(),
    "optim": {"kernels"},
    "fields": {"kernels", "geometry"},
    "rendering": {"kernels", "geometry"},
    "readers": {"kernels", "geometry"},
    "compression": {"kernels"},
    "codec": {"kernels"},
    "artifacts": BELOW_MODELS,
    "rate_control": {"artifacts", *BELOW_MODELS},
    "evaluation": {"artifacts", "rate_control", *BELOW_MODELS},
    "exchange": {"artifacts", *BELOW_MODELS},
    "make_scene": {"readers"},
    "api": {"artifacts", "rate_control", *BELOW_MODELS},
    "datamodules": {"artifacts", "readers", "geometry"},
    "modules": BELOW_SHELLS,
    "callbacks": BELOW_SHELLS,
    "viewer": {"callbacks", "artifacts", *BELOW_MODELS},
    "commands": {"modules", "datamodules", "callbacks", "viewer", *BELOW_SHELLS},
}
FIELD_CLASSES = {
    name for name, value in vars(fields).items() if inspect.isclass(value) and issubclass(value, fields.Field)
}
KNOW_FIELDS = {"fields", "artifacts"}
LIGHTNING_FLOOR = {"datamodules", "modules", "callbacks", "viewer", "commands"}
LOADS_OPENMP = {"torch", "lightning", "numba", "kornia", "torchmetrics", "nerfcomp", "train", "benchmarks", "tests"}
LOADS_NOTHING = (  # see tests/commands/test_program.py
    "nerfcomp.process",
    "nerfcomp.commands.program",
    "nerfcomp.commands.train_program",
)
ABOVE_SCIENCE = {"lightning", "pytorch_lightning", "lightning_utilities", "jsonargparse", "yaml", "train", "compress"}


def scripts() -> list[Path]:
    """What is started by hand: the two commands and everything in ``benchmarks/``."""
    return [ROOT / name for name in SCRIPTS] + sorted((ROOT / "benchmarks").glob("*.py"))


def source_files() -> list[Path]:
    """Every module of the package and every script."""
    return sorted(PACKAGE.rglob("*.py")) + scripts()


def part_of(path: Path) -> str:
    """Name of the part of the house: ``nerfcomp/kernels/adam/torch_kernel.py`` belongs to ``kernels``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST, package: str) -> Iterator[str]:
    """Absolute dotted names of everything that a file imports, relative imports and ``from a import b`` resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    """Dotted names imported by one file."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return set(imported_modules(ast.parse(path.read_text()), package))


def own_parts(names: set[str]) -> set[str]:
    """Parts of nerfcomp among imported names."""
    return {name.split(".")[1] for name in names if name.startswith("nerfcomp.")} - {"__version__"}


def forbidden_imports(part: str, names: set[str]) -> set[str]:
    """Imports that the table of floors does not allow to ``part``.

    A part that the table does not know is a mistake in itself: it returns its own name.
    """
    if part in GROUND:
        return own_parts(names) - GROUND - (NAMED_IN_FRONT if part == "__init__" else set())
    if part not in MAY_IMPORT:
        return {part}
    outside = {name.split(".")[0] for name in names}
    above = outside & {"train", "compress"} if part in LIGHTNING_FLOOR else outside & ABOVE_SCIENCE
    return (own_parts(names) - GROUND - MAY_IMPORT[part] - {part}) | above


def banned_habits(tree: ast.AST) -> Iterator[str]:
    """Habits that are not allowed anywhere, each as ``line: what``."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{node.lineno}: bare except"
        if isinstance(node, ast.Attribute) and node.attr == "is_available" and id(node) not in called:
            yield f"{node.lineno}: is_available without parentheses is always true"
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name == "print":
                yield f"{node.lineno}: print"
            if name == "torch.load" and not _says_true(node, "weights_only"):
                yield f"{node.lineno}: torch.load without weights_only=True"
            if name in {"pickle.load", "pickle.loads", "eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load"}:
                yield f"{node.lineno}: {name}"
            if name in {"np.load", "numpy.load"} and _says_true(node, "allow_pickle"):
                yield f"{node.lineno}: numpy.load with pickles"


def class_tests(tree: ast.AST) -> Iterator[str]:
    """Tests for a class of fields, each as ``line: class``: general code asks the artifact instead."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"isinstance", "issubclass"}
            and len(node.args) == 2
        ):
            named = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
            named |= {name.attr for name in ast.walk(node.args[1]) if isinstance(name, ast.Attribute)}
            yield from (f"{node.lineno}: {name}" for name in sorted(named & FIELD_CLASSES))


def _says_true(call: ast.Call, keyword: str) -> bool:
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords)


def loads_too_early(tree: ast.Module) -> list[str]:
    """What a script loads before it prepares its process, which is too late once torch is there."""
    early = []
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and ast.unparse(statement) == "prepare_process()":
            break
        early += [name for name in imported_modules(statement, "") if name.split(".")[0] in LOADS_OPENMP]
    return [name for name in early if name != "nerfcomp" and not name.startswith(LOADS_NOTHING)]


def is_program(tree: ast.Module) -> bool:
    """Whether a file does something when it is started."""
    return any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body)


def long_functions(tree: ast.AST) -> Iterator[str]:
    """Functions of more than sixty lines, docstring included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_the_rules(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert list(banned_habits(tree)) == []
    assert list(long_functions(tree)) == []
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    if path.is_relative_to(PACKAGE):
        assert forbidden_imports(part_of(path), imports_of(path)) == set()
    if not (path.is_relative_to(PACKAGE) and part_of(path) in KNOW_FIELDS):
        assert list(class_tests(tree)) == []
    if path != PACKAGE / "fields" / "tcnn.py":
        assert "tinycudann" not in {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("path", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_script_prepares_its_process_first(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert loads_too_early(tree) == [] or not is_program(tree)


def test_script_that_loads_torch_first_is_found() -> None:
    call = "from nerfcomp.process import prepare_process\nprepare_process()\n"
    assert loads_too_early(ast.parse(f"import os\nimport torch\n{call}")) == ["torch"]
    assert loads_too_early(ast.parse(f"{call}import torch\nfrom nerfcomp import fields")) == []
    assert loads_too_early(ast.parse("import nerfcomp\nfrom nerfcomp import fields")) == ["nerfcomp.fields"]
    assert loads_too_early(ast.parse("from lightning.pytorch.cli import LightningCLI")) != []
    assert is_program(ast.parse("if __name__ == '__main__':\n    main()")) and not is_program(ast.parse("import os"))


def test_every_part_is_in_the_table() -> None:
    parts = {part_of(path) for path in PACKAGE.rglob("*.py")}
    assert parts <= GROUND | MAY_IMPORT.keys()


def test_table_has_no_cycle() -> None:
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        ready = [part for part, below in MAY_IMPORT.items() if part not in order and below <= set(order)]
        assert ready, f"these import each other: {MAY_IMPORT.keys() - set(order)}"
        order += ready


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("fields", "import lightning.pytorch as pl"),
        ("kernels", "from nerfcomp.fields import NGPField"),
        ("rendering", "from nerfcomp import fields"),
        ("rendering", "from ..fields import base"),
        ("readers", "from nerfcomp.rendering.metrics import psnr"),
        ("codec", "import yaml"),
        ("files", "from nerfcomp.geometry.rays import Rays"),
        ("attic", "import torch"),
        ("callbacks", "from train import main"),
    ],
)
def test_forbidden_import_is_found(part: str, source: str) -> None:
    names = set(imported_modules(ast.parse(source), f"nerfcomp.{part}"))
    assert forbidden_imports(part, names)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("modules", "import lightning.pytorch as pl\nfrom nerfcomp.fields import NGPField"),
        ("fields", "from nerfcomp.kernels.hash_grid import hash_encode\nfrom nerfcomp.errors import MissingExtraError"),
        ("fields", "from .base import RadianceField\nfrom ..geometry.rays import Rays"),
        ("callbacks", "from nerfcomp.readers.scene import Scene\nfrom nerfcomp import geometry, __version__"),
    ],
)
def test_allowed_import_passes(part: str, source: str) -> None:
    names = set(imported_modules(ast.parse(source), f"nerfcomp.{part}"))
    assert forbidden_imports(part, names) == set()


@pytest.mark.parametrize(
    "source",
    [
        "print('done')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "device = 'cuda' if torch.cuda.is_available else 'cpu'",
        "try:\n    run()\nexcept:\n    pass",
        "numpy.load(path, allow_pickle=True)",
    ],
)
def test_banned_habit_is_found(source: str) -> None:
    assert len(list(banned_habits(ast.parse(source)))) == 1


def test_test_for_a_class_of_fields_is_found() -> None:
    source = "isinstance(x, LightField)\nisinstance(x, (int, fields.NGPField))\nisinstance(x, LightFieldArtifact)"
    assert list(class_tests(ast.parse(source))) == ["1: LightField", "2: NGPField"]


def test_good_habit_passes() -> None:
    source = "if torch.cuda.is_available():\n    torch.load(path, weights_only=True)\nlogger.info('done')"
    assert list(banned_habits(ast.parse(source))) == []


def test_long_function_is_found() -> None:
    body = "\n".join("    x = 1" for _ in range(MAX_FUNCTION_LINES))
    assert list(long_functions(ast.parse(f"def f():\n{body}"))) == ["1: f has 61 lines"]
