import numpy as np

from nerfcomp.callbacks.captions import Part, captioned
from nerfcomp.callbacks.media import color_map


def test_pixels_stay_and_words_and_bar_stand_around_them() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (100, 130, 3), np.uint8)
    row = captioned("r_0   PSNR 31.20 dB", [Part(picture, "truth"), Part(picture, "error 0 to 0.2", "inferno")])
    assert row.shape == (132, 130 + 148, 3)
    assert (row[32:, :130] == picture).all() and (row[32:, 130:260] == picture).all()
    bar = row[32:, 264:274]
    assert (bar[0] == color_map(np.ones((1, 1)), "inferno")[0, 0]).all()
    assert (bar[-1] == color_map(np.zeros((1, 1)), "inferno")[0, 0]).all()
    other = captioned("r_0   PSNR 31.30 dB", [Part(picture, "truth"), Part(picture, "error 0 to 0.2", "inferno")])
    assert (other[:16] != row[:16]).any() and (other[16:] == row[16:]).all()
