from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from images.outcome import Outcome
from images.pixels import process
from images.quality import WEIGHTS, compression_part, jpeg_quality

from .pictures import saved, scene

PICTURE = scene(1000, 750)


def judged(image: Image.Image, quality: int = 95) -> Outcome:
    return process(saved(image, quality=quality))


def falls(values: list[float]) -> bool:
    return all(earlier > later for earlier, later in itertools.pairwise(values))


def test_blur_lowers_quality_step_by_step():
    judgements = [judged(PICTURE.filter(ImageFilter.GaussianBlur(r))) for r in (0, 1, 2, 4, 8)]
    assert falls([j.quality for j in judgements])
    assert falls([j.quality_parts["sharpness"] for j in judgements])


def test_darkening_lowers_quality_step_by_step():
    darker = [PICTURE.point(lambda value, f=factor: value * f) for factor in (1, 0.5, 0.25, 0.1, 0.03)]
    judgements = [judged(image) for image in darker]
    assert falls([j.quality for j in judgements])
    assert falls([j.quality_parts["exposure"] for j in judgements[1:]])


def test_overexposure_lowers_quality_step_by_step():
    brighter = [PICTURE.point(lambda value, f=factor: min(value * f, 255)) for factor in (1, 2, 4, 8)]
    assert falls([judged(image).quality for image in brighter])


def test_stronger_compression_lowers_quality_step_by_step():
    judgements = [judged(PICTURE, quality) for quality in (90, 70, 50, 30, 10)]
    assert falls([j.quality_parts["compression"] for j in judgements])
    assert falls([j.quality for j in judgements])


def test_fewer_pixels_lower_the_resolution_part():
    parts = [
        judged(PICTURE.resize((w, w * 3 // 4))).quality_parts["resolution"] for w in (1000, 500, 250, 120)
    ]
    assert falls(parts)


def test_grey_fog_has_little_contrast():
    fog = PICTURE.point(lambda value: 118 + value // 16)
    assert judged(fog).quality_parts["contrast"] < 0.1 < judged(PICTURE).quality_parts["contrast"]


def test_sharp_subject_before_a_soft_background_counts_as_sharp():
    portrait = PICTURE.filter(ImageFilter.GaussianBlur(6))
    portrait.paste(PICTURE.crop((350, 200, 700, 550)), (350, 200))
    soft = judged(PICTURE.filter(ImageFilter.GaussianBlur(6))).quality_parts["sharpness"]
    assert judged(portrait).quality_parts["sharpness"] > soft + 0.3


@pytest.mark.parametrize("shade", ["black", "white", "grey"])
def test_flat_pictures_are_poor_but_not_nan(shade):
    outcome = judged(Image.new("RGB", (600, 400), shade))
    assert 0 <= outcome.quality < 0.4


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 4000)])
def test_tiny_pictures_have_a_quality(size):
    outcome = process(saved(Image.new("RGB", size, "grey"), "PNG"))
    assert 0 <= outcome.quality <= 1


def test_parts_and_weights_agree():
    assert set(judged(PICTURE).quality_parts) == set(WEIGHTS)
    assert sum(WEIGHTS.values()) == pytest.approx(1)


@pytest.mark.parametrize("quality", [20, 30, 50, 75, 90])
def test_jpeg_setting_is_read_from_the_table(quality):
    with Image.open(io.BytesIO(saved(PICTURE, quality=quality))) as image:
        assert jpeg_quality(image.quantization[0]) == pytest.approx(quality, abs=2)


def test_lossless_formats_show_no_compression():
    assert compression_part("image/png", None, 1000, 10**6) == 1.0
    assert compression_part("image/webp", None, 1000, 10**6) < 0.05


def test_quality_is_repeatable():
    first, second = (judged(PICTURE) for _ in range(2))
    assert (first.quality, first.quality_parts) == (second.quality, second.quality_parts)
    assert np.isfinite(first.quality)
