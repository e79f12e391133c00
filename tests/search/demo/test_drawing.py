import numpy as np
import pytest

from search.demo import painting
from search.demo.drawing import draw_plain, draw_scene
from search.demo.lexicon import by_name, things
from search.demo.samples import SIDE, Mix, Painter, random_setting
from search.demo.scene import COLOURS, PLACES, TIMES, WEATHERS


def drawn(seed, place="meadow", time="day", weather="clear", size=96):
    return draw_scene(np.random.default_rng(seed), size, size, place, time, weather).pixels


def test_a_scene_is_the_same_for_a_seed():
    assert np.array_equal(drawn(3), drawn(3))


def test_a_scene_differs_for_another_seed():
    assert not np.array_equal(drawn(3), drawn(4))


@pytest.mark.parametrize("place", PLACES[1:])
def test_every_place_can_be_drawn_at_any_time_and_weather_and_shape(place):
    for time in TIMES[1:]:
        for weather in WEATHERS[1:]:
            pixels = draw_scene(np.random.default_rng(1), 60, 40, place, time, weather).pixels
            assert pixels.shape == (40, 60, 3)
            assert np.isfinite(pixels).all()


@pytest.mark.parametrize("place", PLACES[1:])
def test_night_is_darker_than_day(place):
    assert drawn(5, place, "night").mean() < 0.6 * drawn(5, place, "day").mean()


def test_snow_makes_a_meadow_paler():
    assert drawn(2, weather="snow")[80:].mean() > drawn(2, weather="clear")[80:].mean() + 40


@pytest.mark.parametrize("colour", [name for name in COLOURS if name not in ("none", "black")])
def test_a_plain_background_has_its_colour(colour):
    mean = draw_plain(np.random.default_rng(1), 60, 60, colour).pixels.mean((0, 1))
    distances = {name: np.abs(mean - value).sum() for name, value in COLOURS.items() if name != "none"}
    assert colour in sorted(distances, key=distances.get)[:3]


def test_a_black_background_is_darker_than_every_other():
    brightness = {
        c: draw_plain(np.random.default_rng(1), 60, 60, c).pixels.mean() for c in COLOURS if c != "none"
    }
    assert min(brightness, key=brightness.get) == "black"


def test_resized_pictograms_have_no_white_halo(font):
    canvas = np.zeros((60, 60, 3), np.float32)
    painting.stamp(canvas, painting.pictogram(by_name()["key"].character), 5, 55, (50, 50), (1, 1, 1), 0.0)
    assert canvas[:, :, 2].max() < 200  # a yellow key: only a halo would be blue as well


def test_every_object_has_a_glyph_of_its_own(font):
    glyphs = {painting.pictogram(thing.character).tobytes() for thing in things()}
    assert len(glyphs) == len(things())


def test_a_missing_font_is_named_in_the_error(monkeypatch):
    monkeypatch.setattr(painting, "FONT", painting.FONT.with_name("absent.ttf"))
    painting._font.cache_clear()
    painting.pictogram.cache_clear()
    with pytest.raises(painting.MissingFont, match="fonts-noto-color-emoji"):
        painting.pictogram("🐕")
    painting._font.cache_clear()


def test_training_pictures_are_the_same_for_a_seed(font):
    first, second = Painter(9, 8), Painter(9, 8)
    for _ in range(5):
        (one, facts), (other, same) = first.paint(Mix()), second.paint(Mix())
        assert facts == same
        assert np.array_equal(one, other)


def test_the_facts_say_whether_a_picture_has_a_scene_or_a_colour(font):
    painter = Painter(4, 8)
    for picture, facts in (painter.paint(Mix()) for _ in range(40)):
        assert picture.shape == (SIDE, SIDE, 3)
        assert (facts.place > 0) == (facts.time > 0) == (facts.weather > 0) == (facts.background == 0)
        assert len(set(facts.objects)) == len(facts.objects) <= 2


def test_it_never_snows_in_the_desert():
    rng = np.random.default_rng(0)
    settings = [random_setting(rng) for _ in range(400)]
    assert any(PLACES[s.place] == "desert" for s in settings)
    assert not any(PLACES[s.place] == "desert" and WEATHERS[s.weather] == "snow" for s in settings)
