"""Pictures of things that nobody sells, drawn from their names: the same name is the same picture."""

from __future__ import annotations

import random

import pyvips  # type: ignore[import-untyped]  # ships no types

WIDTH, HEIGHT = 800, 600
_LAYERS = 3


def still_life(name: str) -> bytes:
    """A JPEG of some round things before a wall, lit from the left."""
    chance = random.Random(name)
    wall = _colour(chance, 150, 235)
    light = pyvips.Image.xyz(WIDTH, HEIGHT)[0] * (-60 / WIDTH) + 30
    picture = pyvips.Image.black(WIDTH, HEIGHT, bands=3) + wall + light
    for _ in range(_LAYERS):
        picture = _thing(picture, chance)
    grain = pyvips.Image.gaussnoise(WIDTH, HEIGHT, sigma=5, mean=0, seed=chance.randrange(1 << 30))
    drawn = (picture + grain).cast("uchar").copy(interpretation="srgb")
    return bytes(drawn.jpegsave_buffer(Q=92))


def _thing(picture: pyvips.Image, chance: random.Random) -> pyvips.Image:
    radius = chance.randrange(60, 170)
    x, y = chance.randrange(radius, WIDTH - radius), HEIGHT - chance.randrange(radius, radius + 110)
    place = pyvips.Image.xyz(WIDTH, HEIGHT) - [x, y]
    away = (place[0] ** 2 + place[1] ** 2) ** 0.5
    # brighter towards the light, darker at the edge
    shade = (away * (-70 / radius)) + place[0] * (-50 / radius) + 40
    return (away < radius).ifthenelse(shade + _colour(chance, 40, 200), picture)


def _colour(chance: random.Random, low: int, high: int) -> list[float]:
    return [float(chance.randrange(low, high)) for _ in range(3)]
