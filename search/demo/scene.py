"""A picture in the making: what kinds of scenes there are, and how the land looks in their light."""

from dataclasses import dataclass

from search.demo.painting import Canvas, Colour, Random, mixed, tinted

PLACES = ("plain", "sea", "beach", "mountains", "forest", "desert", "city", "meadow")
TIMES = ("none", "day", "sunset", "night")
WEATHERS = ("none", "clear", "rain", "snow")
COLOURS: dict[str, Colour] = {
    "none": (0, 0, 0),
    "red": (198, 52, 48),
    "orange": (236, 138, 46),
    "yellow": (243, 208, 72),
    "green": (84, 160, 82),
    "blue": (70, 130, 205),
    "purple": (132, 82, 170),
    "pink": (238, 152, 184),
    "brown": (132, 92, 62),
    "grey": (140, 143, 148),
    "white": (240, 240, 238),
    "black": (30, 31, 34),
}
LIGHTS: dict[str, Colour] = {
    "none": (1, 1, 1),
    "day": (1, 1, 1),
    "sunset": (1.0, 0.86, 0.78),
    "night": (0.66, 0.7, 0.86),
}
_GROUND: dict[str, Colour] = {
    "none": (1, 1, 1),
    "day": (1, 1, 1),
    "sunset": (0.84, 0.58, 0.5),
    "night": (0.24, 0.28, 0.43),
}
SNOW: Colour = (236, 241, 248)


@dataclass
class Scene:
    """A picture in the making. `horizon` and `ground` are shares of the height: where the sky ends, and the
    band of lines (top, bottom) on which things may stand."""

    rng: Random
    pixels: Canvas
    place: str
    time: str
    weather: str
    horizon: float = 0.6
    ground: tuple[float, float] = (0.8, 0.95)
    sun: tuple[float, float] = (0.0, 0.0)
    background: str = "none"

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def light(self) -> Colour:
        """What a thing in this scene is multiplied by."""
        dim = 0.94 if self.weather in ("rain", "snow") else 1.0
        return tinted(LIGHTS[self.time], (dim, dim, dim))

    def tone(self, colour: Colour, snowy: float = 0.0) -> Colour:
        """A colour of the land under this scene's light; `snowy` = how much of it the snow covers."""
        if self.weather == "snow":
            colour = mixed(colour, SNOW, snowy)
        if self.weather in ("rain", "snow"):
            colour = mixed(colour, (128, 134, 142), 0.28)
        factor = _GROUND[self.time]
        if self.weather == "snow" and snowy:  # snow gathers what little light there is
            factor = mixed(
                factor,
                {"sunset": (0.98, 0.84, 0.84), "night": (0.46, 0.51, 0.68)}.get(self.time, factor),
                snowy,
            )
        return tinted(colour, factor)
