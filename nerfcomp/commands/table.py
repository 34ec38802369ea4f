"""All subcommands of ``compress.py``: where each lives and what it does, so that help needs to load none of them."""

from typing import NamedTuple


class Command(NamedTuple):
    """One subcommand.

    Attributes:
        place: Module in ``nerfcomp.commands`` and function.
        summary: First line of the function's docstring.
    """

    place: str
    summary: str


SECTIONS: dict[str, dict[str, Command]] = {
    "Captures": {
        "poses": Command("poses:poses", "Find the poses of photographs, or of the frames of a film, with COLMAP."),
    },
    "Files": {
        "encode": Command("encode:encode", "Encode a checkpoint as a .nfc file."),
        "decode": Command(
            "encode:decode",
            "Decode a .nfc file: to the values of a volume, or to a checkpoint that train.py reads.",
        ),
        "info": Command("info:info", "Show what a .nfc file holds, without decoding it."),
        "unwrap": Command(
            "encode:unwrap", "Write the bare NNC bitstreams of a .nfc file, which plain nncodec decodes."
        ),
    },
    "Pictures": {
        "render": Command(
            "render:render",
            "Render a film (.mp4) or stills (a folder) of a .nfc file or checkpoint along a path, from the file alone.",
        ),
        "view": Command(
            "view:view",
            "Turn a decoded scene in a browser: coarse while it moves, whole when it stands; until Ctrl-C.",
        ),
        "page": Command(
            "page:page", "Write a page that draws a student in the browser alone: one folder for any web host."
        ),
    },
    "Measurements": {
        "evaluate": Command(
            "measure:evaluate",
            "Measure PSNR and SSIM of a .nfc file (or checkpoint) on the views of a scene, as decoded.",
        ),
        "evaluate-mesh": Command(
            "mesh_quality:evaluate_mesh",
            "Measure a mesh against exact distances, points, another mesh, silhouettes, or by the protocol of DTU.",
        ),
        "sweep": Command(
            "measure:sweep", "Measure a rate-distortion curve: encode, decode and evaluate over several QPs."
        ),
        "compare": Command(
            "compare:compare",
            "Put two training runs side by side in one HTML file: settings that differ, figures, curves, pictures.",
        ),
        "bdrate": Command("results:bdrate", "Compare two rate-distortion curves: bytes saved at equal PSNR."),
        "plot": Command(
            "results:plot",
            "Check the result.txt of a tuning run and draw its PSNR and loss as result.png beside it.",
        ),
    },
    "Volumes": {
        "volume": Command("volume:volume", "Compress a scalar volume: train, encode, decode, measure."),
        "search": Command(
            "search:search",
            "Search settings that give the best ratio and PSNR of a volume; the first trial is the default.",
        ),
    },
    "Stages": {
        "lsa": Command(
            "lsa:lsa",
            "Compress a trained NeRF: quantize, tune scales (LSA), encode, decode, measure, write it back.",
        ),
        "int8": Command(
            "int8:int8", "Compare a field in float32 with itself in 8 bits, calibrated and trained for it."
        ),
        "slim": Command("students:slim", "Write a smaller dense student that draws faster, to be fine-tuned."),
    },
    "Other tools": {
        "export onnx": Command(
            "exchange:export_onnx",
            "Write a student as one ONNX graph from the pose of a camera to its picture.",
        ),
        "mesh": Command("mesh:mesh", "Write the surface of a field as a coloured mesh: .glb, .ply or .obj."),
        "export nerf-pytorch": Command(
            "exchange:export_nerf_pytorch", "Turn a checkpoint or .nfc file of ours into a .tar of nerf-pytorch."
        ),
        "export ngp-pl": Command(
            "exchange:export_ngp_pl", "Turn a checkpoint or .nfc file of ours into a slim checkpoint of ngp_pl."
        ),
        "import nerf-pytorch": Command(
            "exchange:import_nerf_pytorch",
            "Turn a .tar of nerf-pytorch, or a .ckpt of nerf_pl, into a checkpoint of ours.",
        ),
        "import neus": Command(
            "exchange:import_neus", "Turn a ckpt_*.pth of the authors' NeuS into a checkpoint of ours."
        ),
        "import ngp-pl": Command("exchange:import_ngp_pl", "Turn a checkpoint of ngp_pl into one of ours."),
    },
}
COMMANDS = {name: command for section in SECTIONS.values() for name, command in section.items()}
FORMER_NAMES = {
    "export": "export onnx",  # where options follow
    "export_nerf_pytorch": "export nerf-pytorch",
    "export_ngp_pl": "export ngp-pl",
    "import_nerf_pytorch": "import nerf-pytorch",
    "import_ngp_pl": "import ngp-pl",
}
FORMER_OPTIONS = ("--ckpt", "--file", "--result")  # of the input
