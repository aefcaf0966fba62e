"""The catalogue as the importer and the exporter see it: one RPC in, keyset pages out.

Reads go to `public` with the service key, so every one of them names its tenant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import Annotated, Any, Final, Literal, NewType, TypeVar

import httpx
from postgrest import AsyncPostgrestClient, AsyncSelectRequestBuilder
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pyreqwest.exceptions import PyreqwestError

from worker.config import Settings
from worker.errors import BadAnswer
from worker.gateway import faults
from worker.gateway.client import SupabaseRpc
from worker.gateway.filters import chunks
from worker.gateway.transport import BoundedTransport

TenantId = NewType("TenantId", str)

PAGE: Final = 500
CALL_TIMEOUT: Final = timedelta(seconds=60)


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Tenant(_Row):
    id: TenantId
    slug: str
    name: str
    currency: str


class Location(_Row):
    id: str
    code: str


class Problem(_Row):
    code: str
    detail: str | None = None


class RowResult(_Row):
    """What became of one row of `import_products`."""

    line: int
    sku: str
    result: Literal["created", "updated", "unchanged", "refused"]
    received: int
    error: Problem | None = None


def _text_or_none(value: object) -> object:
    return value if isinstance(value, str) else None


# from attributes, where a PMS may have put anything
Loose = Annotated[str | None, BeforeValidator(_text_or_none)]


class PlaceRow(_Row):
    """A product without its contents: what its attributes say of its place in a file."""

    id: str
    sku: str
    parent_id: str | None
    deleted_at: str | None
    handle: Loose = None
    after: Loose = None
    file: Any = None


class ProductRow(_Row):
    id: str
    parent_id: str | None
    sku: str
    name: str
    description: str
    status: Literal["draft", "active", "archived"]
    price: Decimal
    currency: str
    attributes: dict[str, Any]


class ImageRow(_Row):
    id: str
    product_id: str
    source_url: str
    position: int
    alt_text: str | None


class StockRow(_Row):
    id: str
    product_id: str
    location_id: str
    on_hand: int


R = TypeVar("R", bound=_Row)
_RESULTS: Final = TypeAdapter(list[RowResult])
_PRODUCT: Final = "id,parent_id,sku,name,description,status,price::text,currency,attributes"
_PLACE: Final = (
    "id,sku,parent_id,deleted_at,handle:attributes->shopify->handle,after:attributes->shopify->after,"
    "file:attributes->shopify->file"
)


class CatalogueGateway:
    """All methods raise `GatewayError`. Safe to share between tasks; closes with `async with`."""

    def __init__(self, settings: Settings) -> None:
        key = settings.supabase_secret_key.get_secret_value()
        self._rpc = SupabaseRpc(settings, timeout=CALL_TIMEOUT)
        self._http = httpx.AsyncClient(
            transport=BoundedTransport(timeout=CALL_TIMEOUT),
            timeout=None,  # noqa: S113 - the transport's own time-outs count, per phase and in total
            trust_env=False,
        )
        self._tables = AsyncPostgrestClient(
            settings.rest_url,
            schema="public",
            headers={"apikey": key, "Authorization": f"Bearer {key}"},
            http_client=self._http,
        )

    async def __aenter__(self) -> CatalogueGateway:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._rpc.__aexit__(kind, error, trace)
        await self._http.aclose()

    async def tenant(self, slug: str) -> Tenant | None:
        found = await self._rows(
            Tenant, self._tables.from_("tenants").select("id,slug,name,currency").eq("slug", slug).limit(1)
        )
        return found[0] if found else None

    async def locations(self, tenant_id: TenantId) -> list[Location]:
        """All locations, by code."""

        def page() -> AsyncSelectRequestBuilder:
            return self._tables.from_("locations").select("id,code").eq("tenant_id", tenant_id)

        return sorted([row async for row in self._pages(Location, page)], key=lambda row: row.code)

    async def import_products(
        self, tenant_id: TenantId, rows: Sequence[Mapping[str, Any]]
    ) -> list[RowResult]:
        """Upserts up to 500 rows; answers one result for each, in their order."""
        answer = await self._rpc.call("import_products", p_tenant_id=tenant_id, p_rows=rows)
        try:
            results = _RESULTS.validate_python(answer)
        except ValidationError:
            raise BadAnswer("import_products answered in another shape") from None
        if len(results) != len(rows):
            raise BadAnswer(f"import_products answered {len(results)} results for {len(rows)} rows")
        return results

    async def known_skus(self, tenant_id: TenantId, skus: Iterable[str]) -> set[str]:
        """Those of `skus` that a living product of the tenant has."""
        known: set[str] = set()
        for some in chunks(skus):
            query = self._tables.from_("products").select(_PLACE).eq("tenant_id", tenant_id)
            query = query.is_("deleted_at", "null").in_("sku", some)
            known |= {row.sku for row in await self._rows(PlaceRow, query)}
        return known

    async def places(self, tenant_id: TenantId) -> AsyncIterator[PlaceRow]:
        """Every product that is no variant, the deleted ones too: they still hold a file's order together."""

        def page() -> AsyncSelectRequestBuilder:
            query = self._tables.from_("products").select(_PLACE).eq("tenant_id", tenant_id)
            return query.is_("parent_id", "null")

        async for row in self._pages(PlaceRow, page):
            yield row

    async def products(
        self, tenant_id: TenantId, ids: Iterable[str], *, by: Literal["id", "parent_id"]
    ) -> list[ProductRow]:
        """The living products with these ids, or the living variants of them."""
        return await self._of(ProductRow, "products", _PRODUCT, tenant_id, by, ids)

    async def images(self, tenant_id: TenantId, product_ids: Iterable[str]) -> list[ImageRow]:
        """Those that have a URL: an upload is nothing that a file could name."""
        select = "id,product_id,source_url,position,alt_text"
        return await self._of(ImageRow, "product_images", select, tenant_id, "product_id", product_ids)

    async def stock(self, tenant_id: TenantId, product_ids: Iterable[str]) -> list[StockRow]:
        select = "id,product_id,location_id,on_hand"
        return await self._of(StockRow, "stock_levels", select, tenant_id, "product_id", product_ids)

    async def _of(
        self, model: type[R], table: str, select: str, tenant_id: TenantId, column: str, ids: Iterable[str]
    ) -> list[R]:
        found: list[R] = []
        for some in chunks(ids):

            def page(some: Sequence[str] = some) -> AsyncSelectRequestBuilder:
                query = self._tables.from_(table).select(select).eq("tenant_id", tenant_id)
                query = query.in_(column, some)
                if table == "product_images":
                    return query.not_.is_("source_url", "null")
                return query.is_("deleted_at", "null") if table == "products" else query

            found += [row async for row in self._pages(model, page)]
        return found

    async def _pages(self, model: type[R], page: Any) -> AsyncIterator[R]:
        last: str | None = None
        # until an empty page: the server may cap pages below what was asked for
        while True:
            query = page().order("id").limit(PAGE)
            rows = await self._rows(model, query.gt("id", last) if last else query)
            for row in rows:
                yield row
            if not rows:
                return
            last = rows[-1].model_dump()["id"]

    async def _rows(self, model: type[R], query: Any) -> list[R]:
        try:
            answer = await query.execute()
        except (httpx.HTTPError, httpx.InvalidURL, PyreqwestError, OSError) as error:
            raise faults.from_transport(error) from error
        try:
            return TypeAdapter(list[model]).validate_python(answer.data)  # type: ignore[valid-type]  # a runtime model
        except ValidationError as error:
            what = error.errors(include_input=False, include_url=False)[0]
            raise BadAnswer(f"{model.__name__}: {'.'.join(map(str, what['loc']))}: {what['msg']}") from None
