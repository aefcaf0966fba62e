// What went wrong, as an exception that knows its answer. responses.ts writes it down.

export type Place = "path" | "query" | "header" | "body";

export interface Failure {
  /** Where it is: `query` and `limit`, `body` and `rows.3.price`. Absent where the database found it. */
  in?: Place;
  field?: string | null;
  code: string;
  detail: string;
  [more: string]: unknown;
}

export interface More {
  hint?: string;
  failures?: Failure[];
  /** The database's SQLSTATE. */
  sqlstate?: string;
  headers?: Record<string, string>;
  /** Further members of the body. */
  body?: Record<string, unknown>;
}

/** `code` is stable and for programs, `detail` is for people. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly more: More = {},
  ) {
    super(`${status} ${code}: ${detail}`);
    this.name = "Problem";
  }
}

export function unavailable(code: string, detail: string, seconds = 1): Problem {
  return new Problem(503, code, detail, { headers: { "Retry-After": String(seconds) } });
}

export function invalid(failures: Failure[]): Problem {
  const first = failures[0]!;
  const others = failures.length > 1 ? `; and ${failures.length - 1} more` : "";
  const place = first.field ? ` ${first.in} ${first.field}:` : "";
  return new Problem(400, "request.invalid", `The request is not valid:${place} ${first.detail}${others}.`, {
    failures,
    hint: "Correct everything that failures lists.",
  });
}

export function invalidHeader(name: string, detail: string): Problem {
  return invalid([{ in: "header", field: name, code: "invalid_format", detail }]);
}
