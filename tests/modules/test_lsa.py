"""The tuning stage on tiny fields: what moves, what stays, what a resumed run and its checkpoint know."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.nfc import decode_artifact, fp32_bytes
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import LocalScaling, named_scales, plain_parameters
from nerfcomp.datamodules import RayDataModule, ViewDataModule
from nerfcomp.errors import CheckpointError
from nerfcomp.evaluation.report import mean_result
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.exchange.nerf_pytorch import to_nerf_pytorch
from nerfcomp.geometry.cameras import select_views
from nerfcomp.geometry.rays import image_rays
from nerfcomp.modules import LSAModule
from nerfcomp.optim import StepDecay
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers import ProceduralReader, Scene, Split
from nerfcomp.readers.nerf_pytorch import write_nerf_pytorch
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler
from tests.fields.test_light_field import shaken
from tests.modules.tiny_fields import data, quiet_fit, save, tiny_ngp, tiny_pair

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(*tiny_pair(), tmp_path_factory.mktemp("pair") / "pair.ckpt")


@pytest.fixture(scope="module")
def ngp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(*tiny_ngp(), tmp_path_factory.mktemp("ngp") / "ngp.ckpt")


def tune(
    module: LSAModule, folder: Path, steps: int = 6, ckpt: Path | None = None, datamodule: RayDataModule | None = None
) -> Trainer:
    return quiet_fit(module, datamodule or data(), folder, steps, ckpt)


@pytest.mark.parametrize("start", ["pair", "ngp"])
@pytest.mark.parametrize("tune_biases", [True, False])
def test_only_scales_and_biases_move(
    start: str, tune_biases: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    module = LSAModule(str(request.getfixturevalue(start)), qp=-16, uniform=True, tune_biases=tune_biases)
    tune(module, tmp_path, steps=1)
    before = {name: value.clone() for name, value in plain_parameters(module.field).items()}
    scales = {name: value.clone() for name, value in named_scales(module.field).items()}
    tune(module, tmp_path, steps=3)
    for name, value in plain_parameters(module.field).items():
        assert torch.equal(value, before[name]) == (not tune_biases or value.dim() > 1), name
    assert all(not torch.equal(value, scales[name]) for name, value in named_scales(module.field).items())


def test_weights_are_those_of_the_decoded_file(pair: Path, tmp_path: Path) -> None:
    module = LSAModule(str(pair), qp=-16, uniform=True, optimizer=lambda p: torch.optim.Adam(p, lr=1e-2))
    tune(module, tmp_path)
    container = encode_for(module.trained, RateTarget())
    decoded = decode_artifact(container, trust=True)
    rays = next(iter(data().val_dataloader())).rays
    expected, found = (
        of_kind(one, RadianceFieldArtifact, "test").render(rays).rgb for one in (module.trained, decoded)
    )
    assert (found - expected).abs().max() < 0.02
    assert fp32_bytes(decoded) == fp32_bytes(module.trained)


class PicturesOf(ProceduralReader):
    """The scene as a trained field shows it."""

    def __init__(self, trained: RadianceFieldArtifact) -> None:
        super().__init__(image_size=16, n_train=3, n_val=1, n_test=1, supersampling=1)
        self.trained = trained

    def read(self, split: Split) -> Scene:
        scene = super().read(split)
        views = [image_rays(scene.camera, view, scene.near, scene.far) for view in range(len(scene.names))]
        colours = torch.stack([self.trained.render(rays).rgb for rays in views]).view(-1, 16, 16, 3)
        opaque = torch.full_like(colours[..., :1], 255)
        return scene._replace(images=torch.cat([(255 * colours).round(), opaque], -1).byte(), has_alpha=False)


def test_tuning_wins_back_what_quantization_lost(ngp: Path, tmp_path: Path) -> None:
    truth = RayDataModule(
        PicturesOf(of_kind(read_checkpoint(ngp), RadianceFieldArtifact, "test")), batch_size=256, background="black"
    )
    before = LSAModule(str(ngp), qp=-4, uniform=True, optimizer=lambda p: torch.optim.SGD(p, lr=1e-30))
    after = LSAModule(str(ngp), qp=-4, uniform=True, optimizer=lambda p: torch.optim.Adam(p, lr=2e-2))
    quality = []
    for module in (before, after):
        tune(module, tmp_path, steps=60, datamodule=truth)
        quality.append(mean_result(evaluate_views(module.trained, truth.split("test"))).psnr)
    assert quality[1] > quality[0] + 1.0


def test_a_checkpoint_describes_itself_and_a_resumed_run_ends_the_same(pair: Path, tmp_path: Path) -> None:
    def module() -> LSAModule:
        return LSAModule(str(pair), qp=-16, uniform=True, scheduler=lambda o, n: StepDecay(o, n, every=2, factor=0.5))

    straight = module()
    tune(straight, tmp_path, steps=6).save_checkpoint(tmp_path / "straight.ckpt")
    first = module()
    tune(first, tmp_path, steps=3).save_checkpoint(tmp_path / "first.ckpt")
    resumed = module()
    tune(resumed, tmp_path, steps=6, ckpt=tmp_path / "first.ckpt")
    for name, value in named_scales(straight.field).items():
        assert torch.equal(value, named_scales(resumed.field)[name])
    known = read_checkpoint(tmp_path / "straight.ckpt")
    assert known.qp == straight.qps and known.qp is not None
    assert known.qp["model.pts_linears.0.weight"] == -16
    assert known.qp["model.pts_linears.0.weight_scaling"] == -48 and known.qp["model_fine.rgb_linear.bias"] == -44
    assert len(named_scales(known.field)) == len(named_scales(straight.field))


def test_a_resumed_run_needs_neither_the_field_it_tunes_nor_luck(pair: Path, tmp_path: Path) -> None:
    start = Path(shutil.copy(pair, tmp_path / "start.ckpt"))

    def module() -> LSAModule:
        return LSAModule(str(start), qp=-16, uniform=True, training_sampler=OccupancySampler(resolution=8, n_steps=16))

    straight, resumed = module(), module()
    tune(straight, tmp_path, steps=6)
    tune(module(), tmp_path, steps=3).save_checkpoint(tmp_path / "first.ckpt")
    start.unlink()
    tune(resumed, tmp_path, steps=6, ckpt=tmp_path / "first.ckpt")
    for name, value in straight.field.state_dict().items():
        assert torch.equal(value, resumed.field.state_dict()[name]), name


def test_biases_have_a_rate_of_their_own(pair: Path, tmp_path: Path) -> None:
    module = LSAModule(str(pair), uniform=True, bias_rate=0.25, optimizer=lambda p: torch.optim.Adam(p, lr=0.01))
    tune(module, tmp_path, steps=1)
    scales, biases = module.make_optimizer().param_groups
    assert (scales["lr"], biases["lr"]) == (0.01, 0.0025)
    assert len(scales["params"]) == len(named_scales(module.field))
    assert sum(p.numel() for p in biases["params"]) == sum(p.numel() for p in scales["params"])


def test_samples_of_tuning_lie_where_the_networks_have_something(pair: Path, tmp_path: Path) -> None:
    sampler = OccupancySampler(resolution=8, n_steps=16)
    module = LSAModule(str(pair), qp=-16, uniform=True, training_sampler=sampler)
    tune(module, tmp_path, steps=2)
    assert torch.equal(sampler.occupied, module.tuning.sampler.occupied[:1])
    with pytest.raises(ValueError, match="resolution 8"):
        tune(LSAModule(str(pair), uniform=True, training_sampler=OccupancySampler(resolution=16)), tmp_path, 1)


def test_a_file_of_nerf_pytorch_is_tuned_like_a_checkpoint(pair: Path, tmp_path: Path) -> None:
    write_nerf_pytorch(tmp_path / "000100.tar", to_nerf_pytorch(read_checkpoint(pair)))
    ours = LSAModule(str(pair), qp=-16, uniform=True)
    theirs = LSAModule(
        str(tmp_path / "000100.tar"), qp=-16, uniform=True, sampler=HierarchicalSampler(4, 4, resolution=8)
    )
    for module in (ours, theirs):
        tune(module, tmp_path, steps=1)
    for name, value in plain_parameters(theirs.field).items():
        assert value.dim() == 1 or torch.equal(value, plain_parameters(ours.field)[name])


def test_a_student_is_tuned_on_views(tmp_path: Path) -> None:
    reader = ProceduralReader(image_size=12, n_train=2, n_val=1, n_test=1, supersampling=1)
    info = SceneInfo.from_scene(reader.read("train"))
    write_checkpoint(LightFieldArtifact(field=shaken(), scene=info), tmp_path / "student.ckpt")
    module = LSAModule(str(tmp_path / "student.ckpt"), qp=-16, optimizer=lambda p: torch.optim.Adam(p, lr=1e-2))
    trainer = tune(module, tmp_path, steps=3, datamodule=ViewDataModule(reader, batch_size=1))
    trainer.save_checkpoint(tmp_path / "tuned.ckpt")
    tuned = read_checkpoint(tmp_path / "tuned.ckpt")
    scales = named_scales(tuned.field)
    assert len(scales) > 5 and any(bool((scale != 1).any()) for scale in scales.values())
    decoded = of_kind(decode_artifact(encode_for(tuned, RateTarget()), trust=True), LightFieldArtifact, "test")
    view = select_views(info.camera, [0])
    assert (decoded.draw(view).rgb - module.trained.draw(view).rgb).abs().max() < 0.05
    weights = plain_parameters(decoded.field)
    folded = plain_parameters(LightFieldArtifact(field=shaken(), scene=info).for_coding().field)
    assert weights.keys() == folded.keys()


def test_scales_that_are_there_already_stay(ngp: Path, tmp_path: Path) -> None:
    trained = read_checkpoint(ngp)
    LocalScaling().attach(trained.field)
    with torch.no_grad():
        next(iter(named_scales(trained.field).values())).fill_(1.5)
    qps = {name: -20 for name in plain_parameters(trained.field)}
    write_checkpoint(trained.replace(qp=qps), tmp_path / "scaled.ckpt")
    module = LSAModule(str(tmp_path / "scaled.ckpt"), optimizer=lambda p: torch.optim.SGD(p, lr=1e-30))
    tune(module, tmp_path, steps=1)
    first = next(iter(named_scales(module.field).values()))
    assert torch.equal(first, torch.full_like(first, 1.5))
    assert module.qps is not None and set(module.qps.values()) == {-20, -48}


def test_there_must_be_something_to_tune(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at .*gone.ckpt"):
        tune(LSAModule(str(tmp_path / "gone.ckpt")), tmp_path)
    with pytest.raises(ValueError, match="name its checkpoint"):
        tune(LSAModule(None), tmp_path)


def test_rates_fall_in_steps() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match="StepDecay needs"):
        StepDecay(optimizer, 10, every=0)
    constant = StepDecay(optimizer, 10, every=1, factor=0.0)
    assert all(math.isclose(constant.lr_lambdas[0](step), 1.0) for step in (0, 1, 9))
