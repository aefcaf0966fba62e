"""`pms-worker import` and `pms-worker export`: arguments, what is printed, exit codes.

Exit codes: 0 all was done, 1 some lines were refused (the others were imported) or Supabase gave up on us,
2 nothing was done because the file, the tenant or the location cannot be used.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TextIO

from worker.catalogue import checks, summary
from worker.catalogue.checks import BadValue, shown
from worker.catalogue.exporting import Exporter, target
from worker.catalogue.importing import Importer
from worker.catalogue.jsonl import JsonLinesReader
from worker.catalogue.patience import Patience
from worker.catalogue.product import Group, Refusal, UnusableFile
from worker.catalogue.progress import Report
from worker.catalogue.rehearsing import rehearse
from worker.catalogue.shopify import ShopifyReader
from worker.catalogue.source import Format, Source, format_of, inspect
from worker.catalogue.summary import FINE, INCOMPLETE
from worker.config import Settings
from worker.errors import GatewayError
from worker.gateway.catalogue import CatalogueGateway, Location, Tenant
from worker.log import redact

UNUSABLE: Final = 2
DEFAULT_LOCATION: Final = "MAIN"
MOST_NAMED: Final = 20

_IMPORT_TEXT: Final = """\
FILE is a Shopify product CSV or JSON Lines, one product a line:
  {"sku": "TENT-2P", "name": "Tent", "price": "189.00", "status": "active", "quantity": 4,
   "images": [{"source_url": "https://…", "position": 1, "alt_text": "pitched"}]}
with parent_sku, description, currency and attributes where needed. Variants become child products.
Bad lines are reported with their number, column and reason; the others are imported. A line says all of
its product: what it leaves out is emptied. Products that are not in the file stay as they are.

Importing the same file again is safe: what is the same stays untouched, and the quantity of a line
is received once per file and line. An edited file is a new file: the quantities on all its lines are
received again, unless --no-stock is given."""

_EXPORT_TEXT: Final = """\
Products that came from a Shopify CSV give the same lines back, in the same order, with what was
changed since.
Variant Inventory Qty is what is on hand at the location, or at all of them."""


class Unusable(Exception):
    """The tenant or the location cannot be used; the message says what would do."""


def add_arguments(importer: argparse.ArgumentParser, exporter: argparse.ArgumentParser) -> None:
    """Gives the two commands their arguments and their help."""
    for parser, text in ((importer, _IMPORT_TEXT), (exporter, _EXPORT_TEXT)):
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = text
        parser.add_argument("--tenant", required=True, metavar="SLUG", help="the tenant's slug")
    importer.add_argument("file", type=Path, metavar="FILE", help="a .csv, or a .jsonl or .ndjson file")
    importer.add_argument(
        "--location", metavar="CODE", help="where quantities are received; made if it is missing "
        f"(default: the tenant's only location, {DEFAULT_LOCATION} if it has none)",
    )  # fmt: skip
    importer.add_argument("--currency", help="of the prices (default: the tenant's)")
    importer.add_argument("--no-stock", action="store_true", help="leave quantities out")
    importer.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    exporter.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="(default, or -: standard output)"
    )
    exporter.add_argument("--location", metavar="CODE", help="whose stock counts (default: all)")
    for parser in (importer, exporter):
        parser.add_argument(
            "--format", choices=("auto", "shopify", "jsonl"), default="auto",
            help="auto goes by the file's name (default)",
        )  # fmt: skip


def run_import(settings: Settings, args: argparse.Namespace) -> int:
    """Runs `import`; the exit code is the answer."""
    return _run(_import(settings, args), "what was imported stays, and importing the file again is safe")


def run_export(settings: Settings, args: argparse.Namespace) -> int:
    """Runs `export`; the exit code is the answer."""
    return _run(_export(settings, args), "no file was written")


def _run(work: Coroutine[None, None, int], afterwards: str) -> int:
    try:
        return asyncio.run(_until_stopped(work))
    except (Unusable, UnusableFile) as error:
        _complain(str(error))
        return UNUSABLE
    except BrokenPipeError:
        raise  # `main` ends quietly
    except OSError as error:
        _complain(f"{error.filename or 'output'}: {error.strerror}")
        return UNUSABLE
    except GatewayError as error:
        _complain(f"{error}; {afterwards}")
        return INCOMPLETE
    except (KeyboardInterrupt, asyncio.CancelledError):
        _complain(f"stopped; {afterwards}")
        return INCOMPLETE


async def _until_stopped(work: Coroutine[None, None, int]) -> int:
    """SIGTERM ends `work` as Ctrl-C does, so that it tidies up behind itself and says what holds now."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await work
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _import(settings: Settings, args: argparse.Namespace) -> int:
    source = await asyncio.to_thread(inspect, args.file)
    form = format_of(args.file, args.format)
    async with CatalogueGateway(settings) as gateway:
        tenant, locations = await _tenant(gateway, args.tenant)
        location = _receiving_location(locations, args.location)
        currency = _currency(args.currency, tenant)
        with source.open() as stream, Report(args.file.name, total=source.lines, unit="lines") as report:
            found = _without_stock(_reader(stream, source, form, currency), args.no_stock)
            if not any(each.code == location for each in locations):
                report.say(
                    f"location {location} is not there yet; it is made when the first quantity arrives"
                )
            try:
                if args.dry_run:
                    outcome = await rehearse(gateway, tenant.id, found, report)
                    return summary.rehearsed(outcome, source, tenant.slug, location)
                importer = Importer(
                    gateway, tenant.id, sha256=source.sha256, location_code=location, report=report
                )
                return summary.imported(await importer.run(found), source, tenant.slug, location)
            except UnicodeDecodeError:
                raise UnusableFile("the file was changed while it was read") from None


async def _export(settings: Settings, args: argparse.Namespace) -> int:
    form = format_of(args.file or Path("-.csv"), args.format)
    async with CatalogueGateway(settings) as gateway:
        tenant, locations = await _tenant(gateway, args.tenant)
        counted = [each.id for each in locations if each.code == args.location] if args.location else None
        if counted == []:
            raise Unusable(f"tenant {tenant.slug} has no location {shown(args.location)}")
        with Report(f"export of {tenant.slug}", total=0, unit="products") as report:
            exporter = Exporter(
                gateway, tenant.id, locations=None if counted is None else frozenset(counted), report=report
            )
            places = await exporter.places()
            report.expect(sum(place.deleted_at is None for place in places))
            path = None if args.file == Path("-") else args.file
            with target(path) as out:
                count = await exporter.write(places, out, form=form)
            report.say(f"{count:,} products with their variants -> {path or 'standard output'}")
    return FINE


async def _tenant(gateway: CatalogueGateway, slug: str) -> tuple[Tenant, list[Location]]:
    patience = Patience(_complain)
    tenant = await patience(lambda: gateway.tenant(slug))
    if tenant is None:
        raise Unusable(f"there is no tenant {shown(slug)}; --tenant takes its slug")
    return tenant, await patience(lambda: gateway.locations(tenant.id))


def _receiving_location(locations: Sequence[Location], wanted: str | None) -> str:
    if wanted is not None:
        try:
            return checks.location_code(wanted)
        except BadValue as bad:
            raise Unusable(f"--location: {bad}") from None
    codes = [location.code for location in locations]
    if len(codes) > 1:
        shown_codes = ", ".join(codes[:MOST_NAMED]) + (", …" if len(codes) > MOST_NAMED else "")
        raise Unusable(f"the tenant has several locations, name one with --location: {shown_codes}")
    return codes[0] if codes else DEFAULT_LOCATION


def _currency(wanted: str | None, tenant: Tenant) -> str:
    try:
        return checks.currency(wanted) if wanted else tenant.currency
    except BadValue as bad:
        raise Unusable(f"--currency: {bad}") from None


def _reader(stream: TextIO, source: Source, form: Format, currency: str) -> Iterable[Group | Refusal]:
    if form == "jsonl":
        return JsonLinesReader(stream, currency=currency)
    return ShopifyReader(
        stream,
        currency=currency,
        newline=source.newline,
        bom=source.bom,
        terminated=source.terminated,
    )


def _without_stock(found: Iterable[Group | Refusal], leave_out: bool) -> Iterator[Group | Refusal]:
    for each in found:
        if leave_out and isinstance(each, Group):
            products = tuple(replace(product, quantity=None) for product in each.products)
            yield replace(each, products=products)
        else:
            yield each


def _complain(text: str) -> None:
    print(f"pms-worker: {redact(text)}", file=sys.stderr)
