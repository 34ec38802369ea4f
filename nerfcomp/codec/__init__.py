"""Named tensors to the bytes of a ``.nfc`` file and back. Knows no networks. Modules are loaded when asked for."""

from typing import TYPE_CHECKING

from nerfcomp.lazy import lazy_names

if TYPE_CHECKING:
    from nerfcomp.codec.codec import Storage, decode, encode, unwrap
    from nerfcomp.codec.container import (
        Container,
        Section,
        TensorSpec,
        from_bytes,
        read_container,
        to_bytes,
        write_container,
    )
    from nerfcomp.codec.nnc import encode_nnc
    from nerfcomp.codec.nnc_decoder import decode_nnc
    from nerfcomp.codec.quantizers import Quantized, dequantize, estimate_bytes, quantize, step_size
    from nerfcomp.codec.sandbox import Limits

__all__ = [
    "Container",
    "Limits",
    "Quantized",
    "Section",
    "Storage",
    "TensorSpec",
    "decode",
    "decode_nnc",
    "dequantize",
    "encode",
    "encode_nnc",
    "estimate_bytes",
    "from_bytes",
    "quantize",
    "read_container",
    "step_size",
    "to_bytes",
    "unwrap",
    "write_container",
]

__getattr__ = lazy_names(
    __name__,
    {
        "codec": ["Storage", "decode", "encode", "unwrap"],
        "container": [
            *("Container", "Section", "TensorSpec", "from_bytes", "read_container", "to_bytes", "write_container"),
        ],
        "nnc_decoder": ["decode_nnc"],
        "nnc": ["encode_nnc"],
        "quantizers": ["Quantized", "dequantize", "estimate_bytes", "quantize", "step_size"],
        "sandbox": ["Limits"],
    },
)
