"""The few colours that make up most of a picture."""

from __future__ import annotations

from collections import defaultdict

MOST, NEAR, LEAST_SHARE, VISIBLE = 5, 48, 0.02, 128


def dominant_colors(pixels: bytes) -> list[str]:
    """`#rrggbb`, the most frequent first, of 8-bit sRGB with alpha.

    What is more clear than solid is not seen. Pixels are gathered in 4,096 boxes; a box near a larger
    one is counted with it.
    """
    boxes: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for at in range(0, len(pixels), 4):
        red, green, blue, alpha = pixels[at : at + 4]
        if alpha < VISIBLE:
            continue
        box = boxes[red >> 4 << 8 | green >> 4 << 4 | blue >> 4]
        box[0] += 1
        box[1] += red
        box[2] += green
        box[3] += blue
    seen = sum(box[0] for box in boxes.values())
    groups: list[tuple[tuple[int, int, int], list[int]]] = []
    for _, (count, red, green, blue) in sorted(boxes.items(), key=lambda each: (-each[1][0], each[0])):
        colour = (red // count, green // count, blue // count)
        for middle, group in groups:
            if sum(abs(a - b) for a, b in zip(middle, colour, strict=True)) < NEAR:
                group[0] += count
                break
        else:
            groups.append((colour, [count]))
    frequent = sorted(groups, key=lambda each: (-each[1][0], each[0]))
    return [
        "#{:02x}{:02x}{:02x}".format(*middle) for middle, (count,) in frequent if count >= seen * LEAST_SHARE
    ][:MOST]
