"""Under which names TensorBoard shows figures: by what they are, so that what matters most stands first.

TensorBoard sorts groups by their names. ``bytes``, ``loss``, ``lr``, ``psnr`` and ``ssim`` come before ``throughput``
and ``train``, and hold the figures of training, validation, test and decoded files side by side.
"""

from collections.abc import Mapping

_STAGES = ("train", "val", "test")
_KINDS = ("loss", "psnr", "ssim")
_TWICE = ("train/samples_per_ray", "train/rays", "val/seconds_per_image", "test/seconds_per_image", "epoch")
_BITSTREAM = {
    "bitstream/bytes": "bytes/nfc",
    "bitstream/ratio": "bytes/ratio_to_fp32",
    "bitstream/psnr": "psnr/decoded",
    "bitstream/psnr_fp32": "psnr/before_encoding",
    "bitstream/psnr_drop": "psnr/drop",
    "bitstream/ssim": "ssim/decoded",
}


def board_names(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures under the names that TensorBoard shows; what `Throughput` shows already is left out.

    >>> board_names({"train/psnr": 30.0, "val/psnr": 29.0, "train/rays": 512.0, "train/rgb": 0.1})
    {'psnr/train': 30.0, 'psnr/val': 29.0, 'train/rgb': 0.1}
    """
    return {_named(name): value for name, value in figures.items() if name not in _TWICE}


def _named(name: str) -> str:
    stage, _, kind = name.partition("/")
    if stage in _STAGES and kind in _KINDS:
        return f"{kind}/{stage}"
    return _BITSTREAM.get(name, name)
