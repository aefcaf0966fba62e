"""The columns of the Shopify product CSV: which ones have a meaning here, and who owns the others.

Source: https://help.shopify.com/en/manual/products/import-export/using-csv
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from worker.catalogue.checks import BadValue, plain, shown
from worker.catalogue.product import UnusableFile

HANDLE: Final = "Handle"
TITLE: Final = "Title"
BODY: Final = "Body (HTML)"
PUBLISHED: Final = "Published"
STATUS: Final = "Status"
SKU: Final = "Variant SKU"
PRICE: Final = "Variant Price"
QUANTITY: Final = "Variant Inventory Qty"
IMAGE_SRC: Final = "Image Src"
IMAGE_POSITION: Final = "Image Position"
IMAGE_ALT: Final = "Image Alt Text"

OPTION_NAMES: Final = tuple(f"Option{n} Name" for n in (1, 2, 3))
OPTION_VALUES: Final = tuple(f"Option{n} Value" for n in (1, 2, 3))
IMAGE_COLUMNS: Final = frozenset({IMAGE_SRC, IMAGE_POSITION, IMAGE_ALT})
REQUIRED: Final = (HANDLE, TITLE, PRICE)
MAX_COLUMNS: Final = 512

# what a product without variants has in place of an option
NO_OPTION_NAME: Final = "Title"
NO_OPTION_VALUE: Final = "Default Title"

# an export's header where no product of the catalogue came from a file
STANDARD_HEADER: Final = (
    *(HANDLE, TITLE, BODY, "Vendor", "Type", "Tags", PUBLISHED),
    *(column for pair in zip(OPTION_NAMES, OPTION_VALUES, strict=True) for column in pair),
    *(SKU, "Variant Grams", "Variant Inventory Tracker", QUANTITY, "Variant Inventory Policy"),
    *("Variant Fulfillment Service", PRICE, "Variant Compare At Price", "Variant Requires Shipping"),
    *("Variant Taxable", "Variant Barcode", IMAGE_SRC, IMAGE_POSITION, IMAGE_ALT, STATUS),
)

_VARIANT: Final = re.compile(r"Variant .*|Option[1-9] Value|Cost per item|(Compare At )?Price / .*")


def is_variant_column(column: str) -> bool:
    """True for a column that says something about one variant rather than about the product."""
    return _VARIANT.fullmatch(column) is not None


def check_header(cells: Sequence[str] | None) -> tuple[str, ...]:
    """The header as it stands. Raises `UnusableFile` naming what is missing, twice there or not a name."""
    if not cells:
        raise UnusableFile("the file is empty: a header and at least one product are expected")
    if len(cells) > MAX_COLUMNS:
        raise UnusableFile(f"the header has {len(cells):,} columns; at most {MAX_COLUMNS} are read")
    for cell in cells:
        try:
            plain(cell)
        except BadValue as bad:
            raise UnusableFile(f"line 1: the column name {shown(cell)} {bad}") from None
    if twice := [column for column, count in Counter(cells).items() if count > 1]:
        raise UnusableFile(f"line 1: the header has {', '.join(map(shown, twice))} more than once")
    if missing := [column for column in REQUIRED if column not in cells]:
        hint = "; the cells seem to be separated by something other than commas" if len(cells) == 1 else ""
        raise UnusableFile(f"line 1: the header lacks the column {', '.join(map(shown, missing))}{hint}")
    return tuple(cells)
