"""onnxruntime-web, the npm package that runs ONNX graphs in a browser: found or fetched once, checked, unpacked."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from nerfcomp.errors import MissingExtraError, NerfcompError
from nerfcomp.files import atomic_write

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
WASM = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WEBGPU = ("ort.webgpu.min.js", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm")
_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # npm's own
_SECONDS = 600  # that npm may take


def find_runtime(given: Path | None = None) -> Path:
    """The package: the one that is given, the one kept from before, or a new one from npm.

    Args:
        given: A file of this name that somebody has fetched, or the folder it lies in.

    Raises:
        MissingExtraError: It is nowhere, and npm is not installed or cannot fetch it.
        NerfcompError: The file is not that package.
    """
    if given is not None:
        return checked(given / PACKAGE if given.is_dir() else given)
    kept = cache_folder() / PACKAGE
    if not kept.is_file():
        fetch(kept)
    return checked(kept)


def cache_folder() -> Path:
    """Where the package is kept between calls."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nerfcomp"


def fetch(path: Path) -> None:
    """Let npm fetch the package.

    Raises:
        MissingExtraError: There is no npm, or it fails.
    """
    npm, advice = shutil.which("npm"), f"`npm pack onnxruntime-web@{VERSION}` makes {PACKAGE}; name it with --runtime."
    if npm is None:
        raise MissingExtraError(
            f"The page needs onnxruntime-web, which npm fetches, and npm is not installed. {advice}"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"onnxruntime-web@{VERSION}", "--silent"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise MissingExtraError(f"npm could not fetch onnxruntime-web ({said.strip()[:200]}). {advice}") from error
        with atomic_write(path) as temporary:
            shutil.copyfile(Path(folder) / PACKAGE, temporary)


def checked(path: Path) -> Path:
    """The package itself, after a look at its digest.

    Raises:
        NerfcompError: It is missing or another file.
    """
    if not path.is_file():
        raise NerfcompError(f"There is no {path}. Fetch it with `npm pack onnxruntime-web@{VERSION}`.")
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if digest != _SHA512:
        raise NerfcompError(f"{path} is not {PACKAGE} as npm has it: its digest differs. Remove it and fetch it again.")
    return path


def unpack(package: Path, names: tuple[str, ...], folder: Path) -> int:
    """Write some files of the package's ``dist`` into a folder.

    Args:
        package: From `find_runtime`.
        names: Of the files.
        folder: Where they go.

    Returns:
        Their bytes.
    """
    total = 0
    with tarfile.open(package) as archive:
        for name in names:
            content = archive.extractfile(f"package/dist/{name}")
            assert content is not None, "regular files"
            data = content.read()
            with atomic_write(folder / name) as temporary:
                temporary.write_bytes(data)
            total += len(data)
    return total
