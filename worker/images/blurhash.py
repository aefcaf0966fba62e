"""BlurHash: a placeholder of some 30 letters (github.com/woltapp/blurhash, Algorithm.md)."""

from __future__ import annotations

import math

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
Colour = tuple[float, float, float]


def blurhash(pixels: bytes, width: int, height: int, *, across: int = 4, down: int = 3) -> str:
    """Of 8-bit sRGB pixels, three bytes each; a picture of 32 x 32 is more than enough."""
    linear = [_linear(each) for each in range(256)]
    light = [linear[each] for each in pixels]
    factors = [_factor(light, width, height, x, y) for y in range(down) for x in range(across)]
    average, details = factors[0], factors[1:]
    said = _digits((across - 1) + (down - 1) * 9, 1)
    most = max((abs(part) for each in details for part in each), default=0.0)
    step = max(0, min(82, int(most * 166 - 0.5))) if details else 0
    said += _digits(step, 1)
    red, green, blue = (_srgb(part) for part in average)
    said += _digits((red << 16) + (green << 8) + blue, 4)
    scale = (step + 1) / 166 if details else 1.0
    return said + "".join(_digits(_packed(each, scale), 2) for each in details)


def _factor(light: list[float], width: int, height: int, x: int, y: int) -> Colour:
    columns = [math.cos(math.pi * x * n / width) for n in range(width)]
    red = green = blue = 0.0
    for row in range(height):
        factor = math.cos(math.pi * y * row / height)
        line = light[row * width * 3 : (row + 1) * width * 3]
        red += factor * sum(map(float.__mul__, columns, line[0::3]))
        green += factor * sum(map(float.__mul__, columns, line[1::3]))
        blue += factor * sum(map(float.__mul__, columns, line[2::3]))
    norm = (1 if x == y == 0 else 2) / (width * height)
    return red * norm, green * norm, blue * norm


def _packed(colour: Colour, scale: float) -> int:
    red, green, blue = (
        max(0, min(18, math.floor(math.copysign(math.sqrt(abs(part / scale)), part) * 9 + 9.5)))
        for part in colour
    )
    return red * 19 * 19 + green * 19 + blue


def _linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)


def _srgb(light: float) -> int:
    light = max(0.0, min(1.0, light))
    share = light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return int(share * 255 + 0.5)


def _digits(value: int, length: int) -> str:
    return "".join(DIGITS[value // 83 ** (length - 1 - n) % 83] for n in range(length))
