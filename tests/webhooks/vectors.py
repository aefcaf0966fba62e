"""The hostile URLs that both sides of the wall, the worker's and SQL's, are held to."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

FILE = Path(__file__).with_name("ssrf_vectors.txt")
_ESCAPE = re.compile(r"\\(?:([\\tnrs])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_NAMED = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r", "s": " "}

# loopback, cloud metadata of all makes, and the private networks
INSIDE = [
    *("127.0.0.1", "169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("100.100.100.200", "192.0.0.192", "168.63.129.16", "0.0.0.0"),
]


@dataclass(frozen=True, slots=True)
class Vector:
    """One hostile URL. `answers`: what its name resolves to; None where nothing may be resolved."""

    family: str
    url: str
    answers: tuple[str, ...] | None = None


def hostile() -> list[Vector]:
    """Every vector once, in the order of the file, then those that are generated."""
    generated = [
        Vector("IPv4 forms", f"https://{form}/") for address in INSIDE for form in ipv4_forms(address)
    ] + [
        Vector("IPv4 inside IPv6", f"https://[{form}]/") for address in INSIDE for form in ipv6_forms(address)
    ]
    found = {vector.url: vector for vector in (*_overlong(), *generated, *_from_file())}
    return list(found.values())


def _from_file() -> Iterator[Vector]:
    family = ""
    for line in FILE.read_text().split("\n")[3:]:
        if line.startswith("# "):
            family = line.removeprefix("# ")
        elif line:
            url, arrow, answers = line.partition(" =>")
            named = tuple(answer.strip() for answer in answers.split(",") if answer.strip())
            yield Vector(family, _ESCAPE.sub(_unescape, url), named if arrow else None)


def _unescape(found: re.Match[str]) -> str:
    return _NAMED[found[1]] if found[1] else chr(int(found[2] or found[3] or found[4], 16))


def _overlong() -> Iterator[Vector]:
    for url in (
        "https://example.com/" + "a" * 2048,
        "https://example.com/?" + "a" * 2048,
        "https://" + "a." * 130 + "com/",
        "https://" + ".".join(["a" * 63] * 4) + ".com/",
        "https://" + "a" * 2048,
        "https://" + "1" * 1000 + "/",
        "https://" + "0" * 1000 + "127.0.0.1/",
        "https://[" + "0" * 1000 + "::1]/",
        "https://[" + ":" * 1000 + "]/",
        "https://example.com:" + "0" * 1000 + "443/",
        "https://" + "a@" * 500 + "127.0.0.1/",
        "https://" + "ü" * 64 + ".com/",
    ):
        yield Vector("overlong", url)


def ipv4_forms(address: str) -> Iterator[str]:
    """How `inet_aton` and its heirs read an IPv4 address, and a few forms that only careless parsers take."""
    a, b, c, d = (int(part) for part in address.split("."))
    number = int(IPv4Address(address))
    yield address
    yield from (
        f"{number}",
        f"{number:#x}",
        f"{number:#X}",
        f"0{number:o}",
        f"00{number:o}",
        f"0x00{number:08x}",
    )
    yield from (f"{number + 2**32}", f"{number + 2**64}", f"{number:#x}".replace("0x", "0x1", 1))
    yield from (f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"{a:#X}.{b:#X}.{c:#X}.{d:#X}")
    yield from (f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:04o}.{b:04o}.{c:04o}.{d:04o}", f"00000{a:o}.{b}.{c}.{d}")
    yield from (f"{a:03}.{b:03}.{c:03}.{d:03}", f"0{a}.{b}.{c}.{d}", f"{a}.{b}.{c}.0{d}")
    yield from (f"{a:#x}.{b}.{c}.{d}", f"{a}.{b}.{c}.{d:#x}", f"{a}.0{b:o}.{c:#x}.{d}", f"0{a:o}.{b}.{c}.{d}")
    yield from (
        f"{a}.{b}.{c * 256 + d}",
        f"{a}.{b * 65536 + c * 256 + d}",
        f"{a:#x}.{b * 65536 + c * 256 + d:#x}",
    )
    yield from (f"{address}.", f"{address}..", f".{address}", f"{a}..{b}.{c}.{d}", f"{address}.0")
    yield from (f"{a + 256}.{b}.{c}.{d}", f"{a}.{b}.{c}.{d + 256}", f"{address}:0", f"{address}:22")
    yield from (
        f"{a}.{b}.{c}.{d}e0",
        f"{a}.{b}.{c}.+{d}",
        f"{a}.{b}.{c}.-{d}",
        f"[{address}]",
        f"({address})",
    )


def ipv6_forms(address: str) -> Iterator[str]:
    """The ways in which an IPv6 address carries an IPv4 one: none of them may lead there."""
    number = int(IPv4Address(address))
    tail, inverted = f"{number >> 16:x}:{number & 0xFFFF:x}", 0xFFFF_FFFF - number
    mapped = ("::ffff:", "0:0:0:0:0:ffff:", "::FFFF:", "::", "::ffff:0:", "64:ff9b::", "64:ff9b:1::")
    isatap = ("fe80::5efe:", "2a00:1450:4001:81b:0:5efe:", "2a00:1450:4001:81b:200:5efe:")
    for prefix, text in itertools.product((*mapped, *isatap), (address, tail)):
        yield prefix + text
    yield f"0000:0000:0000:0000:0000:ffff:{number >> 16:04x}:{number & 0xFFFF:04x}"
    yield from (f"2002:{tail}::", f"2002:{tail}::1", f"2002:{tail}:0:0:0:0:1", f"2001:0:{tail}::")
    yield f"2001:0:4136:e378:8000:63bf:{inverted >> 16:x}:{inverted & 0xFFFF:x}"
    yield from (f"64:ff9b:1:{number >> 16:x}:0:{number & 0xFFFF:x}::", f"64:ff9b:0:0:0:0:{tail}")
