"""What Storage answers when it cannot: the real server's codes, messages and statuses.

The body's `statusCode` says what happened; the HTTP status is 400 for all of them but 500 and those that name
their own. Source: src/internal/errors/codes.ts, src/storage/database/errors.ts, src/http/error-handler.ts.
"""

from __future__ import annotations

import psycopg
from aiohttp import web


class StorageProblem(Exception):
    """`status` is the body's; `error` is the older name of a code, where there is one."""

    def __init__(
        self, status: int, code: str, message: str, *, error: str | None = None, http: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.error = error or code
        self.http = http or (500 if status == 500 else 400)

    def response(self) -> web.Response:
        body = {
            "statusCode": str(self.status),
            "error": self.error,
            "message": str(self),
            "code": self.code,
        }
        return web.json_response(body, status=self.http)


def no_such_bucket() -> StorageProblem:
    return StorageProblem(404, "NoSuchBucket", "Bucket not found", error="Bucket not found")


def no_such_key() -> StorageProblem:
    return StorageProblem(404, "NoSuchKey", "Object not found", error="not_found")


def no_such_file() -> StorageProblem:
    """The row is there and its bytes are not."""
    return StorageProblem(404, "NoSuchKey", "The resource was not found", error="Not found")


def invalid_key(key: str) -> StorageProblem:
    return StorageProblem(400, "InvalidKey", f"Invalid key: {key}")


def invalid_mime_type(mime: str) -> StorageProblem:
    message = f"mime type {mime} is not supported"
    return StorageProblem(415, "InvalidMimeType", message, error="invalid_mime_type")


def too_large(entity: str = "object") -> StorageProblem:
    message = f"The {entity} exceeded the maximum allowed size"
    return StorageProblem(413, "EntityTooLarge", message, error="Payload too large")


def no_content() -> StorageProblem:
    return StorageProblem(400, "InvalidRequest", "No content provided")


def invalid_request(message: str) -> StorageProblem:
    return StorageProblem(400, "InvalidRequest", message, error="Error")


def access_denied(message: str) -> StorageProblem:
    return StorageProblem(403, "AccessDenied", message, error="Unauthorized")


def from_database(error: psycopg.Error) -> StorageProblem:
    match error.sqlstate:
        case "42501":
            message = str(error.diag.message_primary)
            if "row-level security" in message:
                message = "new row violates row-level security policy"
            return access_denied(message)
        case "23505":
            return StorageProblem(409, "KeyAlreadyExists", "The resource already exists", error="Duplicate")
        case "23503":
            return StorageProblem(404, "InvalidRequest", "The related resource does not exist")
        case "55P03":
            return StorageProblem(423, "ResourceLocked", "The resource is locked")
        case "57014" | None:  # without a state: no connection
            message = "The connection to the database timed out"
            return StorageProblem(544, "DatabaseTimeout", message, http=544)
        case "22P02":
            return StorageProblem(400, "InvalidParameter", str(error.diag.message_primary))
        case state:
            return StorageProblem(500, "DatabaseError", f"database error, code: {state}")
