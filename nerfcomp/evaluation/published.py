"""Results in the forms in which benchmarks publish them: nerfbaselines' JSON and the CSV of 3DGS.zip's survey.

Neither form has a place for LPIPS that was not measured; the CSV leaves it empty.
"""

import base64
import csv
import hashlib
import io
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import nerfcomp
from nerfcomp.evaluation.report import ViewResult, mean_result, write_json
from nerfcomp.files import atomic_write

_DIGITS = 5  # of means, as nerfbaselines rounds them


class SurveyRow(NamedTuple):
    """One file in the survey's table."""

    name: str
    psnr: float
    ssim: float
    size: int  # bytes


def write_published(folder: Path, name: str, scene: str, views: Sequence[ViewResult], size: int) -> None:
    """Write ``nerfbaselines.json`` and ``3dgs_zip.csv``.

    Args:
        folder: Where.
        name: What the row of the file is called.
        scene: Name of the scene.
        views: Results per view.
        size: Bytes of the file, everything counted.
    """
    write_json(folder / "nerfbaselines.json", nerfbaselines(scene, views, size))
    mean = mean_result(views)
    with atomic_write(folder / "3dgs_zip.csv") as temporary:
        temporary.write_text(survey_csv([SurveyRow(name, mean.psnr, mean.ssim, size)]))


def nerfbaselines(scene: str, views: Sequence[ViewResult], size: int) -> dict[str, Any]:
    """Means and values per view; those are float32, little-endian, in base64.

    >>> found = nerfbaselines("lego", [ViewResult("a", 30.0, 0.5, 1.0)], 7)
    >>> found["metrics"], found["metrics_raw"]["ssim"]
    ({'psnr': 30.0, 'ssim': 0.5}, 'AAAAPw==')
    """
    mean = mean_result(views)
    lists = {"psnr": [view.psnr for view in views], "ssim": [view.ssim for view in views]}
    return {
        "nb_info": {"method": "nerfcomp", "dataset": scene, "size_bytes": size},
        "evaluate_datetime": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
        "evaluate_version": nerfcomp.__version__,
        "evaluation_protocol": "nerfcomp",
        "metrics": {"psnr": round(mean.psnr, _DIGITS), "ssim": round(mean.ssim, _DIGITS)},
        "metrics_raw": {name: _packed(values) for name, values in lists.items()},
        "metrics_sha256": _digest(lists),
    }


def survey_csv(rows: Sequence[SurveyRow]) -> str:
    r"""A scene's table.

    >>> survey_csv([SurveyRow("qp -24", 30.0, 0.5, 700)])
    'Submethod,PSNR,SSIM,LPIPS,Size [Bytes],#Gaussians\nqp -24,30.0,0.5,,700,\n'
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["Submethod", "PSNR", "SSIM", "LPIPS", "Size [Bytes]", "#Gaussians"])
    table.writerows([row.name, row.psnr, row.ssim, "", row.size, ""] for row in rows)
    return text.getvalue()


def _packed(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode("ascii")


def _digest(lists: Mapping[str, Sequence[float]]) -> str:
    """SHA-256 over names and sorted values, which tells whether two results are the same whatever their order."""
    found = hashlib.sha256()
    for name in sorted(lists):
        found.update(f"{name}{_packed(sorted(lists[name]))}\n".encode())
    return found.hexdigest()
