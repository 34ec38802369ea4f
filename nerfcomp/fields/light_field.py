"""Light fields: from the rays of a camera to its picture in one pass, without marching.

R2L (Wang et al., ECCV 2022) feeds points along every ray to a deep residual network; MobileR2L (Cao et al., CVPR 2023)
does so for every 8x8 or 12x12 block of pixels and lets transposed convolutions make the pixels.

Notation: ``B`` views of ``H x W`` pixels in blocks of ``f x f``; ``h x w`` blocks; ``K`` points along the ray through
the middle of a block; ``L`` octaves of the frequency encoding.
"""

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from nerfcomp.descriptions import own_arguments, require_between
from nerfcomp.fields.base import Field
from nerfcomp.fields.batch_norm import BatchNorm
from nerfcomp.fields.block_points import Bounds, block_points
from nerfcomp.fields.channels_last import Pointwise
from nerfcomp.fields.encodings import HashGrid
from nerfcomp.fields.folding import fold_norm, merged_layers
from nerfcomp.fields.integer import all_integer, integer_layers, put_integer_layers
from nerfcomp.fields.residual import Residual, Stage
from nerfcomp.geometry.cameras import Camera

_MOST_BLOCKS = 1024
_MOST_STAGES = 16
_WIDEST = 2**14
_LARGEST_FACTOR = 64
_LISTS = ("factors", "kernels", "tail_widths", "tail_blocks")


class LightField(Field):
    """The student: points along the rays of blocks of pixels to pixels. The defaults are MobileR2L's for 8x8 blocks.

    Args:
        points_per_ray: K.
        octaves: L; coordinates ``x`` go in as x, sin(x), cos(x), sin(2x), ..., cos(2^(L-1) x).
        width: Channels of the body.
        n_blocks: Residual blocks of the body.
        factors: Factor of each up-sampling stage; their product is f.
        kernels: Kernel of each stage's transposed convolution: its factor, or more by an even number.
        tail_widths: Channels of each stage.
        tail_blocks: Residual blocks of each stage.
        inner_widths: Inner channels of every residual block, those of the body first; those of a block's width when
            absent.
        batch_norm: Normalise in the residual blocks, as training needs.
        rgb_layer: Whether a 1x1 convolution makes the colours; without, the last stage does: width 3 and no blocks.
        in_box: Points lie where the ray is inside the field's box, instead of all the way from near to far.
        grid_levels: Levels of a hash grid whose features at every point go in beside the waves; 0 for none.
        grid_features: Features per lattice point of that grid.
        base_resolution: Resolution of its coarsest level, over the field's box.
        finest_resolution: Resolution of its finest level.
        log2_table_size: A level has at most ``2 ** log2_table_size`` rows.

    Raises:
        ValueError: A number out of range, or lists that do not fit together.
    """

    def __init__(
        self,
        points_per_ray: int = 8,
        octaves: int = 6,
        width: int = 256,
        n_blocks: int = 29,
        factors: Sequence[int] = (2, 2, 2),
        kernels: Sequence[int] = (4, 4, 4),
        tail_widths: Sequence[int] = (64, 64, 16),
        tail_blocks: Sequence[int] = (2, 2, 2),
        inner_widths: Sequence[int] | None = None,
        batch_norm: bool = True,
        rgb_layer: bool = True,
        in_box: bool = False,
        grid_levels: int = 0,
        grid_features: int = 2,
        base_resolution: int = 8,
        finest_resolution: int = 64,
        log2_table_size: int = 19,
    ) -> None:
        given = own_arguments(locals())
        super().__init__()
        require_between(0, 32, grid_levels=grid_levels)
        require_between(1, 16, grid_features=grid_features)
        _check_lengths(n_blocks, factors, kernels, tail_widths, tail_blocks)
        stages = list(zip(factors, kernels, tail_widths, tail_blocks, strict=True))
        _check_sizes(points_per_ray=[points_per_ray], width=[width], factors=factors, tail_widths=tail_widths)
        widths = [width] * n_blocks + [w for _, _, w, blocks in stages for _ in range(blocks)]
        inner = list(widths if inner_widths is None else inner_widths)
        if not (stages and 0 <= octaves <= 16 and len(inner) == len(widths) <= _MOST_BLOCKS):
            raise ValueError(
                f"A LightField of {octaves} octaves, {len(stages)} stages and {len(inner)} inner widths for "
                f"{len(widths)} blocks cannot be built: 0 to 16 octaves, a stage and one width per block are needed."
            )
        _check_sizes(inner_widths=inner)
        if not rgb_layer and (tail_widths[-1], tail_blocks[-1]) != (3, 0):
            raise ValueError(
                f"Without rgb_layer the last stage must have width 3 and no blocks, got {tail_widths[-1]} and "
                f"{tail_blocks[-1]}."
            )
        if any(kernel < factor or (kernel - factor) % 2 for factor, kernel, _, _ in stages):
            raise ValueError(f"Kernels {kernels} do not fit factors {factors}: each must exceed its factor evenly.")
        self.arguments = given | {"inner_widths": inner} | {name: list(given[name]) for name in _LISTS}
        self.points_per_ray = points_per_ray
        self.octaves = octaves
        self.batch_norm = batch_norm
        self.in_box = in_box
        self.factor = math.prod(factors)
        if self.factor > _LARGEST_FACTOR:
            raise ValueError(f"Factors {factors} multiply the resolution by {self.factor}; at most {_LARGEST_FACTOR}.")
        lattice = (log2_table_size, base_resolution, finest_resolution)
        self.grid = HashGrid(grid_levels, grid_features, *lattice) if grid_levels else None
        self.head = Pointwise(points_per_ray * (3 * (2 * octaves + 1) + grid_levels * grid_features), width)
        left = iter(inner)
        self.body = nn.ModuleList(Residual(width, next(left), batch_norm) for _ in range(n_blocks))
        self.tail = nn.ModuleList()
        for factor, kernel, stage_width, blocks in stages:
            self.tail.append(Stage(width, stage_width, factor, kernel, list(islice(left, blocks)), batch_norm))
            width = stage_width
        self.rgb = Pointwise(width, 3) if rgb_layer else nn.Identity()

    def picture_values(self, pixels: int) -> int:
        """Values of the widest layer; all of a picture is drawn at once."""
        blocks = -(-pixels // self.factor**2)
        widest = [blocks * self.head.in_channels, blocks * self.head.out_channels]
        for stage in self.tail:
            up: Any = stage.get_submodule("up")
            blocks *= up.stride[0] ** 2
            widest.append(blocks * up.out_channels)
        inner = max((block.conv1.out_channels for block in self.residuals), default=0)
        return max(*widest, blocks * inner if self.tail[-1].get_submodule("blocks")._modules else 0)

    def forward(self, points: Tensor) -> Tensor:
        """Draw the picture.

        Args:
            points: (B, h, w, 3 K) in the space that is marched (world units, or NDC): x, y and z of the first point,
                then of the second, ...

        Returns:
            (B, f h, f w, 3) in [0, 1].
        """
        return self.picture(self.encode(points))

    def picture(self, encoded: Tensor) -> Tensor:
        """Draw the picture of points as `encode` gives them; results as of `forward`."""
        x = start = nn.functional.gelu(self.head(encoded))
        for block in self.body:
            x = block(x)
        x = x + start
        for stage in self.tail:
            x = stage(x)
        return torch.sigmoid(self.rgb(x))

    def draw(self, camera: Camera, bounds: Bounds, jitter: Tensor | None = None) -> Tensor:
        """Draw views of any size.

        Args:
            camera: B views of H x W pixels.
            bounds: Near, far and frustum of the scene.
            jitter: (K,) in [0, 1], place of each point in its part of the ray; the middle when absent.

        Returns:
            (B, H, W, 3) in [0, 1].
        """
        pictures: Tensor = self(self.points_of(camera, bounds, jitter))
        return pictures[:, : camera.height, : camera.width]

    def points_of(self, camera: Camera, bounds: Bounds, jitter: Tensor | None = None) -> Tensor:
        """Points (B, h, w, 3 K) that views are drawn from; arguments as for `draw`."""
        with torch.autocast(camera.c2w.device.type, enabled=False):  # positions need more digits than weights
            box = self.aabb if self.in_box else None
            return block_points(camera, self.factor, self.points_per_ray, bounds, jitter, box)

    def encode(self, points: Tensor) -> Tensor:
        """Move points (B, h, w, 3 K) into the cube [-1, 1]^3 and encode them.

        Returns:
            (B, h, w, 3 K (2 L + 1)), and behind it the features of the grid at every point, where there is one.
        """
        middle, reach = self.aabb.mean(0), (self.aabb[1] - self.aabb[0]) / 2
        scale, shift = (1 / reach).repeat(self.points_per_ray), (-middle / reach).repeat(self.points_per_ray)
        x = points * scale + shift
        waves = [wave for octave in range(self.octaves) for wave in ((x * 2**octave).sin(), (x * 2**octave).cos())]
        if self.grid is not None:
            waves.append(self.grid((x.reshape(-1, 3) + 1) / 2).reshape(*x.shape[:-1], -1))
        return torch.cat([x, *waves], -1)

    @property
    def residuals(self) -> list[Residual]:
        """All residual blocks, in the order of ``inner_widths``."""
        return [module for module in self.modules() if isinstance(module, Residual)]

    def folded(self) -> "LightField":
        """The same function of the picture without batch normalisation, which the convolutions before it take over.

        Returns:
            A light field with ``batch_norm=False``, for use and not for training.
        """
        twin = LightField(**{**self.arguments, "batch_norm": False}).to(self.aabb.device)
        put_integer_layers(twin, {name: layer.grids for name, layer in integer_layers(self).items()})
        state = {key: value for key, value in self.state_dict().items() if ".norm" not in key}
        twin.load_state_dict(state)
        for mine, other in zip(self.residuals, twin.residuals, strict=True):
            for norm, conv in ((mine.norm1, other.conv1), (mine.norm2, other.conv2)):
                if isinstance(norm, BatchNorm):
                    fold_norm(norm, conv)
        return twin.eval()

    def merged(self) -> "LightField":
        """`folded`, and a last stage without blocks takes over the layer that makes the colours.

        It draws faster; as each of its weights mixes several of this network's, zeros are lost and files grow.

        Returns:
            A light field for use and not for training.
        """
        plain = self.folded()
        apart = self.arguments["tail_blocks"][-1] or all_integer(plain.tail[-1].get_submodule("up"))
        if not isinstance(plain.rgb, Pointwise) or apart:
            return plain
        widths = [*self.arguments["tail_widths"][:-1], 3]
        twin = LightField(**{**plain.arguments, "rgb_layer": False, "tail_widths": widths}).to(self.aabb.device)
        state = {key: value for key, value in plain.state_dict().items() if not key.startswith("rgb.")}
        last = f"tail.{len(self.tail) - 1}.up"
        weight, bias = merged_layers(plain.get_submodule(last), plain.rgb)
        state |= {f"{last}.weight": weight, f"{last}.bias": bias}
        twin.load_state_dict(state)
        return twin.eval()


def _check_lengths(n_blocks: int, *lists: Sequence[int]) -> None:
    """Refuse too many blocks and stages before lists of them are made."""
    _check_sizes(tail_widths=lists[2])
    if not 0 <= n_blocks <= _MOST_BLOCKS or not all(
        len(some) <= _MOST_STAGES and all(type(value) is int and 0 <= value <= _MOST_BLOCKS for value in some)
        for some in (lists[0], lists[1], lists[3])
    ):
        raise ValueError(
            f"A LightField has up to {_MOST_BLOCKS} residual blocks in its body and in each stage, and up to "
            f"{_MOST_STAGES} stages."
        )


def _check_sizes(**sizes: Sequence[int]) -> None:
    """Refuse numbers of channels that are not whole, not positive or huge; a file may ask for anything."""
    for name, values in sizes.items():
        if not all(type(value) is int and 1 <= value <= _WIDEST for value in values):
            raise ValueError(f"{name} is {list(values)[:8]}; whole numbers from 1 to {_WIDEST} are needed.")
