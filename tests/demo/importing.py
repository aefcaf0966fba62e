"""A catalogue goes in by `pms-worker import`, once, and once more for nothing, and comes out as it was."""

from __future__ import annotations

import re
from typing import Final

from tests.demo.pictures import with_local_pictures
from tests.demo.programs import Ended, pms_worker, run_program
from tests.demo.stage import Stage, expect, json_of, read_all
from tests.stack.paths import ROOT

CATALOGUE: Final = ROOT / "tests" / "demo" / "catalogue.csv"

_REFUSED: Final = re.compile(r"^refused: line (\d+), .+: .+", re.MULTILINE)
_PRODUCTS: Final = re.compile(r"([\d,]+) created, ([\d,]+) updated, ([\d,]+) unchanged")
_PIECES: Final = re.compile(r"([\d,]+) pieces received")


async def import_catalogue(stage: Stage) -> str:
    """A dry run writes nothing; the import takes the good lines and names the bad ones."""
    stage.say("dry run")
    dry = await _import(stage, "--dry-run")
    expect(dry.code == 1, f"the dry run of a file with bad lines ended with {dry.code}: {dry.last_words}")
    expect(not await _skus(stage), "the dry run wrote products")

    stage.say(f"pms-worker import {CATALOGUE.name}")
    done = await _import(stage)
    created, updated, unchanged = _counts(done)
    bad = refused_lines(done)
    expect(done.code == 1 and bad, f"the import ended with {done.code}: {done.last_words}")
    expect((updated, unchanged) == (0, 0), f"a fresh import updated {updated} and kept {unchanged}")
    expect(len(await _skus(stage)) == created, f"{created} were created, {len(await _skus(stage))} are there")
    pieces = _pieces(done)
    expect(await _on_hand(stage) == pieces, f"{pieces} were received, {await _on_hand(stage)} are on hand")
    stage.figures |= {"imported": created, "refused_lines": len(bad), "pieces": pieces}
    lines = " and ".join(map(str, bad))
    return f"{created} products, {pieces} pieces; lines {lines} refused, with the reason"


async def import_again(stage: Stage) -> str:
    """The second run changes nothing, and the export is the file that went in, less the refused lines."""
    before = await _places(stage)
    again = await _import(stage)
    created, updated, unchanged = _counts(again)
    nothing = (created, updated, unchanged) == (0, 0, stage.figures["imported"]) and _pieces(again) == 0
    expect(nothing, f"the second import was not without effect: {again.out.strip()}")
    expect(await _places(stage) == before, "the second import changed versions or stock")

    stage.say("pms-worker export")
    exported = stage.scratch / "exported.csv"
    worker = stage.platform.addresses.worker_settings(0)
    command = pms_worker("export", str(exported), "--tenant", stage.fjellmat.slug)
    done = await run_program(stage.platform, command, worker)
    expect(done.code == 0, f"the export ended with {done.code}: {done.last_words}")
    expect(exported.read_bytes() == good_lines(_catalogue(stage), refused_lines(again)),
           "the export differs from the file that was imported")  # fmt: skip
    return f"second run: {unchanged} unchanged, 0 pieces; export: the same {exported.stat().st_size:,} bytes"


def refused_lines(ended: Ended) -> list[int]:
    """The numbers of the lines that an import reported."""
    return [int(number) for number in _REFUSED.findall(ended.err)]


def good_lines(file: bytes, refused: list[int]) -> bytes:
    """The file without some of its lines (from 1)."""
    lines = file.splitlines(keepends=True)
    return b"".join(line for number, line in enumerate(lines, 1) if number not in refused)


def _catalogue(stage: Stage) -> bytes:
    return with_local_pictures(CATALOGUE.read_bytes(), stage.pictures)


async def _import(stage: Stage, *options: str) -> Ended:
    worker = stage.platform.addresses.worker_settings(0)
    file = stage.scratch / CATALOGUE.name
    file.write_bytes(_catalogue(stage))
    command = pms_worker("import", str(file), "--tenant", stage.fjellmat.slug, *options)
    return await run_program(stage.platform, command, worker)


def _counts(ended: Ended) -> tuple[int, int, int]:
    found = _PRODUCTS.search(ended.out)
    expect(found, f"the import did not say what it did: {ended.last_words}")
    assert found is not None
    created, updated, unchanged = (int(text.replace(",", "")) for text in found.groups())
    return created, updated, unchanged


def _pieces(ended: Ended) -> int:
    found = _PIECES.search(ended.out)
    return int(found[1].replace(",", "")) if found else -1


async def _skus(stage: Stage) -> set[str]:
    rows = await read_all(stage.fjellmat.rest, "/products", {"select": "sku", "order": "id"})
    return {row["sku"] for row in rows}


async def _on_hand(stage: Stage) -> int:
    levels = json_of(await stage.fjellmat.rest.get("/stock_levels?select=on_hand"), "reading the stock")
    return sum(level["on_hand"] for level in levels)


async def _places(stage: Stage) -> list[tuple[object, ...]]:
    """Everything that an import could change, with versions."""
    rest = stage.fjellmat.rest
    return [
        tuple(row.values())
        for path, what in (
            ("/products", "id,version"),
            ("/stock_levels", "id,version,on_hand"),
            ("/product_images", "id,version"),
        )
        for row in await read_all(rest, path, {"select": what, "order": "id"})
    ]
