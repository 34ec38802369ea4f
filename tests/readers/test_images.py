"""Decoding: pixel types, area averages and every kind of damage."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nerfcomp.errors import SceneError
from nerfcomp.readers.images import area_average, find_image, load_images, read_header
from tests.readers.builders import noise, write_images, write_png


def load_one(path: Path, height: int = 4, width: int = 5) -> NDArray[np.uint8]:
    rgba: NDArray[np.uint8] = load_images([path], height, width).rgba[0].numpy()
    return rgba


def slow_average(rgba: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    height, width = rgba.shape[0] // factor, rgba.shape[1] // factor
    result = np.zeros((height, width, 4), np.uint8)
    for row in range(height):
        for column in range(width):
            block = rgba[row * factor :, column * factor :][:factor, :factor].reshape(-1, 4).astype(float)
            alpha = block[:, 3].sum()
            color = (block[:, :3] * block[:, 3:]).sum(0) / alpha if alpha else np.zeros(3)
            result[row, column] = np.floor(np.append(color, alpha / factor**2) + 0.5 + 1e-9)
    return result


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(12, 12), (13, 17)])
def test_area_average_agrees_with_a_slow_reference(factor: int, shape: tuple[int, int]) -> None:
    rgba = noise(*shape)
    rgba[:6, :6, 3] = 0
    expected = slow_average(rgba, factor) if factor > 1 else rgba
    assert np.array_equal(area_average(rgba, factor), expected)


def test_area_average_keeps_colours_of_opaque_neighbours() -> None:
    rgba = np.array([[[200, 100, 50, 255], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]], np.uint8)
    assert area_average(rgba, 2).tolist() == [[[200, 100, 50, 64]]]


def test_images_come_in_order_and_unchanged(tmp_path: Path) -> None:
    names = [f"{view}.png" for view in range(20)]
    write_images(tmp_path, names, 4, 5)
    pixels = load_images([tmp_path / name for name in names], 4, 5)
    assert pixels.has_alpha and pixels.rgba.dtype == torch.uint8
    for view in range(20):
        assert np.array_equal(pixels.rgba[view].numpy(), noise(4, 5, 4, view))


def test_opaque_images_get_alpha_255(tmp_path: Path) -> None:
    Image.fromarray(noise(4, 5, 3)).save(tmp_path / "a.png")
    pixels = load_images([tmp_path / "a.png"], 4, 5)
    assert not pixels.has_alpha
    assert (pixels.rgba[..., 3] == 255).all()
    assert np.array_equal(pixels.rgba[0, ..., :3].numpy(), noise(4, 5, 3))


def test_grey_images_are_repeated(tmp_path: Path) -> None:
    grey = noise(4, 5)[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    found = load_one(tmp_path / "a.png")
    assert all(np.array_equal(found[..., channel], grey) for channel in range(3))


def test_grey_with_alpha_and_bits(tmp_path: Path) -> None:
    Image.fromarray(noise(4, 5)[..., :2], "LA").save(tmp_path / "la.png")
    assert np.array_equal(load_one(tmp_path / "la.png")[..., [0, 3]], noise(4, 5)[..., :2])
    Image.fromarray(noise(4, 5)[..., 0] > 100).save(tmp_path / "bits.png")
    assert np.array_equal(load_one(tmp_path / "bits.png")[..., 1] == 255, noise(4, 5)[..., 0] > 100)


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (5, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((2, 1), 0)
    image.save(tmp_path / "a.png", transparency=0)
    assert read_header(tmp_path / "a.png").has_alpha
    found = load_one(tmp_path / "a.png")
    assert found[1, 2].tolist() == [10, 20, 30, 0]
    assert found[0, 0].tolist() == [40, 50, 60, 255]


def test_16_bit_grey_is_rounded_to_8(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wide = np.array([[0, 128, 129, 257, 65535]] * 4, np.uint16)
    Image.fromarray(wide).save(tmp_path / "a.png")
    with caplog.at_level(logging.INFO):
        assert load_one(tmp_path / "a.png")[0, :, 2].tolist() == [0, 0, 1, 1, 255]
    assert "a.png" in caplog.text and "16 bits" in caplog.text


def test_16_bit_colour_is_reduced_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_png(tmp_path / "a.png", noise(4, 5, 3).astype(np.uint16) * 257)
    with caplog.at_level(logging.INFO):
        assert np.array_equal(load_one(tmp_path / "a.png")[..., :3], noise(4, 5, 3))
    assert "16 bits" in caplog.text


def test_exif_orientation_does_not_turn_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(4, 5, 3)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(load_one(tmp_path / "a.png")[..., :3], noise(4, 5, 3))


def test_jpeg_and_webp_are_read(tmp_path: Path) -> None:
    flat = np.full((4, 5, 3), 90, np.uint8)
    for name in ("a.jpg", "a.webp"):
        Image.fromarray(flat).save(tmp_path / name, quality=95)
        assert np.abs(load_one(tmp_path / name)[..., :3].astype(int) - 90).max() <= 2


def test_find_image_adds_the_suffix(tmp_path: Path) -> None:
    write_images(tmp_path, ["r_0.png", "r_0.5.jpg"], 4, 5, channels=3)
    assert find_image(tmp_path / "r_0.png").name == "r_0.png"
    assert find_image(tmp_path / "r_0").name == "r_0.png"
    assert find_image(tmp_path / "r_0.5").name == "r_0.5.jpg"


@pytest.mark.parametrize("name", ["missing", "a" * 5000, "."])
def test_missing_image_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SceneError, match=str(tmp_path)):
        find_image(tmp_path / name)


def test_other_size_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, ["a.png"], 4, 5)
    write_images(tmp_path, ["b.png"], 5, 4)
    with pytest.raises(SceneError, match=r"b\.png has 4x5 pixels where 5x4 are expected"):
        load_images([tmp_path / "a.png", tmp_path / "b.png"], 4, 5)


def test_other_pixel_types_are_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (5, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(SceneError, match=r"a\.jpg has pixels of type 'CMYK'"):
        load_one(tmp_path / "a.jpg")


def test_other_formats_are_refused(tmp_path: Path) -> None:
    Image.new("L", (5, 4)).save(tmp_path / "a.gif")
    (tmp_path / "text.png").write_text("no image")
    for name in ("a.gif", "text.png"):
        with pytest.raises(SceneError, match=f"{name} is not a readable PNG, JPEG, WEBP image"):
            load_one(tmp_path / name)


@pytest.mark.parametrize("keep", [0, 8, 20, 40, 70, 90])
def test_truncated_image_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise(4, 5)).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SceneError, match=r"a\.png"):
        load_one(path)


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise(4, 5)).save(path)
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        bad = bytearray(good)
        bad[generator.integers(len(bad))] ^= 1 << generator.integers(8)
        path.write_bytes(bytes(bad))
        try:
            load_one(path)
        except SceneError:
            refused += 1
    assert refused > 50


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("claim", [(12000, 12000), (60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, claim: tuple[int, int]) -> None:
    path = write_png(tmp_path / "a.png", np.zeros((1, 1, 3), np.uint16), claim)
    with pytest.raises(SceneError, match=r"a\.png"):
        read_header(path)


@pytest.mark.parametrize("downscale", [0, -1, 5])
def test_impossible_downscale_is_refused(tmp_path: Path, downscale: int) -> None:
    write_images(tmp_path, ["a.png"], 4, 5)
    with pytest.raises(ValueError, match="cannot be scaled down"):
        load_images([tmp_path / "a.png"], 4, 5, downscale)
