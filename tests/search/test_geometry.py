"""The model's input is exactly what its published processor would make."""

import time

import numpy as np
import pytest
from PIL import Image

from search.geometry import Geometry, UnsupportedGeometry, flat_rgb
from tests.search.tiny_models import CLIP_MEAN, CLIP_STD

CLIP = {
    "crop_size": 224,
    "do_center_crop": True,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "resample": 3,
    "size": 224,
}
SIGLIP = {
    "size": {"height": 256, "width": 256},
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 2,
}


def noise(width: int, height: int, seed: int = 1) -> Image.Image:
    """A picture with both detail and slow change, so that a shift by a pixel shows."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height), 3)
    grain = random.integers(-20, 21, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def reference(image: Image.Image, **options) -> np.ndarray:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return np.asarray(CLIPImageProcessorPil(**options)(image, return_tensors="np")["pixel_values"][0])


@pytest.mark.parametrize(
    "size", [(224, 224), (225, 301), (640, 427), (91, 63), (333, 999), (1000, 335), (7, 5), (1, 1)]
)
def test_odd_sizes_match_the_published_processor(size):
    image = noise(*size)
    assert np.abs(Geometry.from_config(CLIP).pixels(image) - reference(image)).max() < 1e-5


@pytest.mark.parametrize("size", [(224, 900), (901, 224), (3001, 300), (101, 1000), (50, 533)])
def test_extreme_aspects_keep_the_same_centre(size):
    image = noise(*size)
    ours, theirs = Geometry.from_config(CLIP).pixels(image), reference(image)
    cosine = (ours * theirs).sum() / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert cosine > 0.995


@pytest.mark.parametrize("size", [(300, 200), (63, 500)])
def test_square_resize_matches_the_siglip_processor(size):
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    image = noise(*size)
    theirs = SiglipImageProcessorPil(size={"height": 256, "width": 256}, resample=2)(
        image, return_tensors="np"
    )
    assert np.abs(Geometry.from_config(SIGLIP).pixels(image) - theirs["pixel_values"][0]).max() < 1e-5


def test_an_extreme_strip_is_cheap():
    strip = Image.new("RGB", (32, 58128), "teal")
    started = time.perf_counter()
    pixels = Geometry.from_config(CLIP).pixels(strip)
    assert pixels.shape == (3, 224, 224)
    assert time.perf_counter() - started < 0.5


def test_transparent_pixels_count_as_white():
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    assert flat_rgb(clear).getpixel((5, 5)) == (255, 255, 255)


def test_a_palette_with_a_transparent_colour_counts_as_white():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.info["transparency"] = 1
    assert flat_rgb(image).getpixel((2, 2)) == (255, 255, 255)


def test_an_rgb_picture_with_a_transparent_colour_counts_as_white():
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    image.info["transparency"] = (1, 2, 3)
    assert flat_rgb(image).getpixel((2, 2)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    image = Image.fromarray(np.full((8, 8), 32896, dtype=np.uint16))
    assert flat_rgb(image).getpixel((1, 1)) == (128, 128, 128)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"]
)
def test_every_mode_gives_a_finite_input(mode):
    pixels = Geometry.from_config(CLIP).pixels(Image.new(mode, (50, 30)))
    assert pixels.shape == (3, 224, 224)
    assert np.isfinite(pixels).all()


def test_nested_processor_config_is_read():
    assert Geometry.from_config({"image_processor": CLIP}) == Geometry.from_config(CLIP)


def test_an_empty_batch_has_the_input_shape():
    assert Geometry.from_config(CLIP).batch([]).shape == (0, 3, 224, 224)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"size": {"longest_edge": 224}}, "longest_edge"),
        ({"size": -1}, "size"),
        ({"size": 10**9}, "size"),
        ({"crop_size": 300}, "crop_size"),
        ({"do_center_crop": False, "size": {"shortest_edge": 224}}, "centre crop"),
        ({"image_std": [0, 1, 1]}, "image_std"),
        ({"image_mean": None}, "image_mean"),
        ({"resample": 17}, "resample"),
        ({"do_pad": True}, "do_pad"),
    ],
)
def test_unsupported_preprocessing_names_the_field(change, field):
    with pytest.raises(UnsupportedGeometry, match=field):
        Geometry.from_config({**CLIP, **change})
