"""The name of a colour profile (ICC.1:2022: tag `desc`, as `desc` of version 2 or `mluc` of version 4)."""

from __future__ import annotations

MOST_TAGS, LONGEST = 100, 60


def profile_name(profile: bytes) -> str:
    """Empty when it tells none that can be read."""
    for n in range(min(MOST_TAGS, int.from_bytes(profile[128:132], "big"))):
        entry = profile[132 + 12 * n : 144 + 12 * n]
        if entry[:4] == b"desc":
            start, size = int.from_bytes(entry[4:8], "big"), int.from_bytes(entry[8:12], "big")
            return _text(profile[start : start + size])
    return ""


def _text(tag: bytes) -> str:
    if tag[:4] == b"desc":
        raw = tag[12 : 12 + int.from_bytes(tag[8:12], "big")].decode("ascii", "ignore")
    elif tag[:4] == b"mluc":
        length, at = int.from_bytes(tag[20:24], "big"), int.from_bytes(tag[24:28], "big")
        raw = tag[at : at + length].decode("utf-16-be", "ignore")
    else:
        return ""
    return "".join(each for each in raw if each.isprintable()).strip()[:LONGEST]
