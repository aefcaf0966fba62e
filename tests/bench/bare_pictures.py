"""The bare library on the same photographs: a path a line comes in, the seconds that it took go out.

The same sizes, formats and qualities, in one thread, with nothing checked, told or written.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pyvips  # type: ignore[import-untyped]  # ships no types

from worker.images.darkroom import AVIF, AVIF_EFFORT, MASTER, WEBP
from worker.images.picture import DERIVED


def main() -> int:
    os.nice(10)  # as the workshop's processes are
    pyvips.concurrency_set(1)
    pyvips.cache_set_max(0)
    for line in sys.stdin:
        started = time.perf_counter()
        _work(Path(line.rstrip("\n")))
        print(time.perf_counter() - started, flush=True)
    return 0


def _work(path: Path) -> int:
    master = pyvips.Image.thumbnail(
        str(path), MASTER, height=MASTER, size="down", export_profile="srgb"
    ).copy_memory()
    written = len(master.webpsave_buffer(**WEBP))
    for name, side in DERIVED.items():
        small = master.thumbnail_image(side, height=side, size="down").copy_memory()
        written += len(small.webpsave_buffer(**WEBP))
        written += len(small.heifsave_buffer(effort=AVIF_EFFORT[name], **AVIF))
    return written


if __name__ == "__main__":
    sys.exit(main())
