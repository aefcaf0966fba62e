"""Placeholder, likeness and colours."""

from __future__ import annotations

import blurhash as oracle  # type: ignore[import-untyped]  # ships no types
import pytest
import pyvips  # type: ignore[import-untyped]  # ships no types
from hypothesis import given
from hypothesis import strategies as st

from tests.images.conftest import Develop
from tests.images.samples import encode, photograph, plain, quarters
from worker.images.blurhash import blurhash
from worker.images.colours import dominant_colors
from worker.images.likeness import NEAR, distance, perceptual_hash


@given(st.binary(min_size=6 * 4 * 3, max_size=6 * 4 * 3))
def test_blurhash_is_what_another_makes_of_it(pixels: bytes) -> None:
    """But for roundings at the very edge of two steps, which move a digit by one."""
    lines = [[list(pixels[3 * (6 * y + x) :][:3]) for x in range(6)] for y in range(4)]
    ours, theirs = blurhash(pixels, 6, 4), oracle.encode(lines, 4, 3)
    assert len(ours) == len(theirs) == 28
    assert ours == theirs


def test_blurhash_of_one_colour() -> None:
    assert blurhash(bytes((255, 0, 0)) * 64, 8, 8) == oracle.encode([[[255, 0, 0]] * 8] * 8, 4, 3)


CHANGES = {
    "poor jpeg": lambda image: encode(image, "jpeg", Q=35),
    "webp": lambda image: encode(image, "webp", Q=60),
    "half": lambda image: encode(image.resize(0.5), "png"),
    "twice": lambda image: encode(image.resize(2), "jpeg"),
    "a sixth": lambda image: encode(image.resize(1 / 6), "jpeg"),
    "brighter": lambda image: encode((image + 12).cast("uchar"), "jpeg"),
    "squeezed": lambda image: encode(image.resize(1, vscale=0.97), "jpeg"),
    "grey": lambda image: encode(image.colourspace("b-w"), "jpeg"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_the_same_picture_anew_is_near(develop: Develop, change: str) -> None:
    for seed in (1, 2, 3):
        image = photograph(480, 320, seed)
        one = await develop(encode(image, "png"))
        other = await develop(CHANGES[change](image))
        assert distance(one.perceptual_hash, other.perceptual_hash) <= NEAR, seed
        assert one.sha256 != other.sha256


async def test_other_pictures_are_far(develop: Develop) -> None:
    hashes = [
        (await develop(encode(photograph(240, 160, seed), "jpeg"))).perceptual_hash for seed in range(12)
    ]
    pairs = [distance(one, other) for n, one in enumerate(hashes) for other in hashes[:n]]
    assert min(pairs) > 2 * NEAR, sorted(pairs)[:5]


@pytest.mark.parametrize("shade", [0, 127, 255])
def test_one_colour_has_a_hash_too(shade: int) -> None:
    assert perceptual_hash(bytes([shade]) * 1024) == "0" * 16


def test_the_most_frequent_colour_comes_first() -> None:
    pixels = b"\xff\0\0\xff" * 60 + b"\0\0\xff\xff" * 30 + b"\0\xff\0\xff" * 9 + b"\x77\x77\x77\xff"
    assert dominant_colors(pixels) == ["#ff0000", "#0000ff", "#00ff00"], "one of a hundred does not count"


def test_what_cannot_be_seen_has_no_colour() -> None:
    assert dominant_colors(b"\xff\0\0\0" * 50) == []


def test_shades_of_one_colour_are_one() -> None:
    pixels = b"".join(bytes((200 + n % 10, 30, 30, 255)) for n in range(100))
    assert len(dominant_colors(pixels)) == 1


async def test_a_clear_picture_has_looks(develop: Develop) -> None:
    clear = plain(40, 40, (0, 0, 0, 0))
    picture = await develop(encode(clear, "png"), derivatives=True)
    assert picture.has_alpha
    assert picture.dominant_colors == []
    assert picture.blurhash == oracle.encode([[[255, 255, 255]] * 32] * 32, 4, 3)


async def test_a_tiny_picture_has_looks(develop: Develop) -> None:
    for size in ((1, 1), (1, 3000), (2, 2)):
        picture = await develop(encode(plain(*size, (10, 200, 30)), "png"), derivatives=True)
        assert len(picture.blurhash) == 28
        assert picture.dominant_colors == ["#0ac81e"]


def test_a_turned_picture_is_another() -> None:
    small = quarters(32, 32).colourspace("b-w")
    assert isinstance(small, pyvips.Image)
    one, other = (perceptual_hash(bytes(each.write_to_memory())) for each in (small, small.rot90()))
    assert distance(one, other) > NEAR
