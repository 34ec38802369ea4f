"""Make the features of a trained NGP latents of few dimensions behind a small matrix per level, to train on for size.

    python benchmarks/latents.py --ckpt CKPT --latents 1 --out latents1.ckpt
    python train.py fit --config configs/rate/lego.yaml --model.init_from latents1.ckpt --model.field.features 1

Interpolation is linear: a matrix behind the features of a level and the first layer of the network behind them are one
matrix, that of an NGP with fewer features. Features and layers trained as one product are such a field, and the file
holds the product. The latents are the principal components of what the first layer makes of a level; as many latents
as features are a rotation, which draws the same.

Notation: a level has a table ``T`` (N, F) and columns ``W`` (64, F) of the first layer; ``Z = T W^t``.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from torch import Tensor

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.fields import NGPField

logger = logging.getLogger("benchmark")


def components(table: Tensor, columns: Tensor, latents: int) -> tuple[Tensor, Tensor, float]:
    """Latents (N, d) and columns (64, d) whose product is nearest to ``Z``, and the share of its energy that they keep.

    Latents have the root mean square of the features, lest steps and learning rates mean something else.
    """
    table, columns = table.double(), columns.double()
    energy, directions = torch.linalg.eigh(columns @ (table.t() @ table) @ columns.t())
    chosen = directions[:, -latents:].flip(1)
    turned = table @ (columns.t() @ chosen)
    scale = float((table.square().mean() / turned.square().mean().clamp(min=1e-30)).sqrt())
    share = float(energy[-latents:].sum() / energy.sum().clamp(min=1e-30))
    return (turned * scale).float(), (chosen / scale).float(), share


def with_latents(field: NGPField, read: dict[str, Tensor], latents: int) -> tuple[NGPField, list[float]]:
    """The field of the products, and the share of energy that is kept, level by level.

    Args:
        field: A trained field.
        read: Rows that count, by weight, see `RadianceField.read_rows`; all others become zero.
        latents: Dimensions, at most the features of the field.
    """
    with torch.no_grad():
        first = field.density_mlp.matrices[0].chunk(len(field.grid.tables), dim=1)
        parts = []
        for level, (table, columns) in enumerate(zip(field.grid.tables, first)):
            rows = read.get(f"grid.levels.{level}.weight")
            kept = table if rows is None else table * rows.unsqueeze(1)
            parts.append(components(kept, columns, latents))
        out = NGPField(**{**field.arguments, "features": latents})
        state = field.state_dict()
        state |= {f"grid.levels.{level}.weight": part[0] for level, part in enumerate(parts)}
        state["density_mlp.layers.0.weight"] = torch.cat([part[1] for part in parts], dim=1)
        out.load_state_dict(state)
    return out.eval(), [part[2] for part in parts]


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--latents", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    trained = of_kind(read_artifact(arguments.ckpt), RadianceFieldArtifact, "Latents are made of")
    if arguments.latents not in range(1, trained.field.arguments.get("features", 0) + 1):
        parser.error("the checkpoint must be of an NGP, with at least as many features as latents")
    field, shares = with_latents(cast(NGPField, trained.field), trained.read_rows(), arguments.latents)
    write_checkpoint(trained.replace(field=field), arguments.out)
    logger.info("energy kept, coarsest level first: %s", " ".join(f"{share:.3f}" for share in shares))


if __name__ == "__main__":
    main()
