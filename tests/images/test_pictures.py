"""Good pictures of every kind: upright, in sRGB, bounded, and without a word about who took them where."""

from __future__ import annotations

import hashlib

import pytest
import pyvips  # type: ignore[import-untyped]  # ships no types

from tests.images.conftest import Develop
from tests.images.exif import XMP, exif
from tests.images.samples import (
    CORNERS,
    animation,
    encode,
    photograph,
    plain,
    quarters,
    stored,
    with_chunk,
    with_exif,
    with_riff_chunk,
    with_segment,
)
from tests.images.served import at, bare, near, pixels

PLACES = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_pictures_stand_upright(develop: Develop, kind: str, orientation: int) -> None:
    source = with_exif(encode(stored(quarters(), orientation), kind), exif(orientation))
    picture = await develop(source, derivatives=True)
    assert (picture.width, picture.height, picture.orientation) == (120, 80, orientation)
    for rendition in picture.renditions:
        assert (rendition.width, rendition.height) == (120, 80)
        for place, colour in zip(PLACES, CORNERS, strict=True):
            assert near(at(rendition.path, *place), colour, 16), (rendition.name, place)


def placed() -> dict[str, bytes]:
    """Real EXIF with a place, in every way that a file has for it."""
    jpeg, png, webp = (encode(photograph(300, 200), kind) for kind in ("jpeg", "png", "webp"))
    block = exif(thumbnail=b"SECRET thumbnail")
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0f\x1c\x02\x5a\0\x0aSECRETTOWN\0"
    itxt = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
    tagged = photograph(300, 200).copy()
    tagged.set_type(pyvips.GValue.blob_type, "exif-data", b"Exif\0\0" + block)
    return {
        "jpeg": with_exif(jpeg, block),
        "jpeg, all": with_segment(
            with_segment(
                with_segment(with_exif(jpeg, block), 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
                0xED,
                iptc,
            ),
            0xFE,
            b"SECRET comment",
        ),
        "jpeg, xmp": with_segment(jpeg, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        "png": with_exif(png, block),
        "png, xmp": with_chunk(png, b"iTXt", itxt),
        "webp": with_exif(webp, block),
        "webp, xmp": with_riff_chunk(webp, b"XMP ", XMP, flag=0x04),
        "avif": encode(tagged, "avif", keep="exif"),
    }


@pytest.mark.parametrize("name", placed())
async def test_no_place_is_served(develop: Develop, name: str) -> None:
    source = placed()[name]
    assert b"GPSL" in source or b"SECRETCAM" in source
    picture = await develop(source, derivatives=True)
    assert picture.had_gps
    assert picture.had_metadata
    assert len(picture.renditions) == 7
    for rendition in picture.renditions:
        assert bare(rendition), rendition
    assert "SECRET" not in repr(picture)


async def test_a_check_of_what_is_served_can_fail(develop: Develop) -> None:
    picture = await develop(placed()["jpeg"], derivatives=True)
    for rendition in picture.renditions:
        image = pixels(rendition.path).copy()
        image.set_type(pyvips.GValue.blob_type, "exif-data", b"Exif\0\0" + exif())
        rendition.path.write_bytes(encode(image, rendition.format, keep="exif"))
        assert not bare(rendition)


async def test_a_picture_without_metadata_is_not_said_to_have_some(develop: Develop) -> None:
    picture = await develop(encode(photograph(300, 200), "jpeg"))
    assert not picture.had_metadata
    assert not picture.had_gps


async def test_exif_without_a_place_is_no_place(develop: Develop) -> None:
    picture = await develop(with_exif(encode(photograph(300, 200), "jpeg"), exif(gps=False)))
    assert picture.had_metadata
    assert not picture.had_gps


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "avif"])
async def test_facts(develop: Develop, kind: str) -> None:
    source = encode(photograph(400, 250), kind)
    picture = await develop(source, derivatives=True)
    assert (picture.format, picture.width, picture.height) == (kind, 400, 250)
    assert picture.sha256 == hashlib.sha256(source).hexdigest()
    assert picture.source_bytes == len(source)
    assert picture.color_space == "rgb"
    assert (picture.animated, picture.has_alpha, picture.appended) == (False, False, "")
    assert {(each.name, each.format, each.width, each.height) for each in picture.renditions} == {
        ("master", "webp", 400, 250),
        *(("thumbnail", each, 320, 200) for each in ("webp", "avif")),
        *((name, each, 400, 250) for name in ("card", "zoom") for each in ("webp", "avif")),
    }
    for rendition in picture.renditions:
        image = pixels(rendition.path)
        assert (image.width, image.height, image.bands) == (rendition.width, rendition.height, 3)
        assert rendition.path.stat().st_size == rendition.bytes


async def test_sides_are_bounded(develop: Develop) -> None:
    picture = await develop(encode(photograph(3000, 1500), "jpeg"), derivatives=True)
    sizes = {each.name: (each.width, each.height) for each in picture.renditions}
    assert sizes == {
        "master": (2560, 1280),
        "thumbnail": (320, 160),
        "card": (800, 400),
        "zoom": (1600, 800),
    }
    assert (picture.width, picture.height) == (3000, 1500)


async def test_the_same_bytes_give_the_same_bytes(develop: Develop) -> None:
    source = encode(photograph(900, 700), "jpeg")
    one, other = [await develop(source, derivatives=True) for _ in range(2)]
    for first, second in zip(one.renditions, other.renditions, strict=True):
        assert first.path.read_bytes() == second.path.read_bytes()
    assert (one.blurhash, one.perceptual_hash) == (other.blurhash, other.perceptual_hash)


async def test_cmyk(develop: Develop) -> None:
    """Pure cyan ink is nothing like the screen's cyan, and far from what a bare inversion gives."""
    inks = plain(64, 64, (255, 0, 0, 0)).copy(interpretation="cmyk")
    picture = await develop(encode(inks, "jpeg", Q=95))
    assert picture.color_space == "cmyk"
    red, green, blue = at(picture.renditions[0].path, 0.5, 0.5)
    assert red < 80
    assert 120 < green < 200
    assert 190 < blue < 250


async def test_sixteen_bits(develop: Develop) -> None:
    grey = (pyvips.Image.black(64, 64) + 0x8000).cast("ushort").copy(interpretation="grey16")
    picture = await develop(encode(grey, "png"))
    assert picture.color_space == "grey"
    assert near(at(picture.renditions[0].path, 0.5, 0.5), (128, 128, 128), 3)


async def test_a_wide_profile_becomes_srgb(develop: Develop) -> None:
    """The display's red of P3, (234, 51, 35) in its own numbers, is sRGB's purest red."""
    p3 = plain(64, 64, (234, 51, 35)).icc_transform("p3", input_profile="srgb", intent="relative")
    source = encode(plain(64, 64, (234, 51, 35)).copy(), "png", profile="p3", keep="icc")
    assert not near(p3(5, 5), (234, 51, 35), 8)
    picture = await develop(source)
    assert "P3" in picture.color_space
    assert near(at(picture.renditions[0].path, 0.5, 0.5), (255, 0, 0), 6)


async def test_alpha_is_kept(develop: Develop) -> None:
    clear = quarters().bandjoin(plain(120, 80, (0,)).insert(plain(60, 80, (255,)), 0, 0))
    picture = await develop(encode(clear.copy(interpretation="srgb"), "png"), derivatives=True)
    assert picture.has_alpha
    for rendition in picture.renditions:
        assert at(rendition.path, 0.2, 0.5)[3] == 255
        assert at(rendition.path, 0.8, 0.5)[3] == 0
    assert {each[1::2] for each in picture.dominant_colors[:2]} == {"11d", "d11"}
    assert "1c1" not in {each[1::2] for each in picture.dominant_colors}, "what is clear has no colour"


async def test_alpha_that_hides_nothing_is_none(develop: Develop) -> None:
    solid = quarters().bandjoin(plain(120, 80, (255,))).copy(interpretation="srgb")
    assert not (await develop(encode(solid, "png"))).has_alpha


@pytest.mark.parametrize("kind", ["gif", "webp"])
async def test_an_animation_is_shown_by_its_first_picture(develop: Develop, kind: str) -> None:
    picture = await develop(animation(5, kind), derivatives=True)
    assert picture.animated
    assert (picture.width, picture.height) == (32, 32)
    for rendition in picture.renditions:
        assert pixels(rendition.path).get_n_pages() == 1
        assert near(at(rendition.path, 0.5, 0.5)[:3], (0, 255, 40), 16)
