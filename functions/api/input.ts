// What a request carries, validated: every failure of its path, query, headers and body at once, each with its place.

import type { z } from "@hono/zod-openapi";

import { limitOf, MAX_DEPTH, MAX_VALUES, parseExactly } from "./json.ts";
import { type Failure, invalid, type Place, Problem } from "./problems.ts";

export interface Sent {
  path: Record<string, string>;
  /** As sent, with its "?". */
  query: string;
  headers: Headers;
  body: Uint8Array;
}

interface Schemas {
  path?: z.ZodType;
  query?: z.ZodType;
  headers?: z.ZodType;
  body?: z.ZodType;
}

/** More are not told. */
const MOST_FAILURES = 100;

export function readAsked(sent: Sent, schemas: Schemas) {
  const failures: Failure[] = [];
  const check = (place: Place, schema: z.ZodType | undefined, value: unknown): unknown => {
    if (schema === undefined) return undefined;
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    failures.push(...result.error.issues.flatMap((issue) => failuresOf(place, issue)));
    return undefined;
  };
  const body = bodyOf(sent, schemas.body !== undefined);
  const asked = {
    path: check("path", schemas.path, sent.path),
    query: check("query", schemas.query, queryOf(sent.query, schemas.query !== undefined, failures)),
    headers: check("header", schemas.headers, headersOf(sent.headers)),
    body: check("body", schemas.body, body?.value),
    exact: body?.exact,
  };
  if (failures.length > 0) throw invalid(failures.slice(0, MOST_FAILURES));
  return asked;
}

function failuresOf(place: Place, issue: z.core.$ZodIssue): Failure[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      in: place,
      field: [...issue.path, key].join("."),
      code: "unknown",
      detail: "there is no such field here",
    }));
  }
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    return [{
      in: place,
      field: issue.path.join("."),
      code: issue.code,
      detail: "is of none of the forms that are taken",
    }];
  }
  const detail = issue.message.replace(/^Invalid input: /, "").replace(/^Invalid/, "invalid");
  return [{ in: place, field: issue.path.join("."), code: issue.code, detail }];
}

/** Each parameter once, and well-formed: what a lenient parser guesses, two parsers guess differently. */
function queryOf(query: string, isAsked: boolean, failures: Failure[]): Record<string, string> {
  const values: Record<string, string> = Object.create(null);
  for (const pair of query.replace(/^\?/, "").split("&")) {
    if (pair === "") continue;
    const [name, value] = pair.split(/=(.*)/s).map(decoded);
    const fail = (code: string, detail: string) =>
      failures.push({ in: "query", field: (name ?? pair).slice(0, 100), code, detail });
    if (name === undefined || (value === undefined && pair.includes("="))) {
      fail("malformed", "is not percent-encoded UTF-8");
    } // deno-lint-ignore no-control-regex
    else if (/[\x00-\x1f\x7f]/.test(name + (value ?? ""))) fail("malformed", "holds a control character");
    else if (name in values) fail("repeated", "is sent more than once");
    else if (!isAsked) fail("unknown", "there is no such field here");
    else values[name] = value ?? "";
  }
  return values;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return undefined;
  }
}

function headersOf(headers: Headers): Record<string, string> {
  return Object.fromEntries(headers);
}

const JSON_TYPE = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;

function bodyOf({ headers, body }: Sent, isAsked: boolean): { value: unknown; exact: unknown } | undefined {
  if (!isAsked) {
    if (body.byteLength > 0) throw new Problem(400, "body.unexpected", "This route takes no body.");
    return undefined;
  }
  const coding = headers.get("Content-Encoding");
  if (coding !== null && coding.toLowerCase() !== "identity") {
    throw new Problem(415, "body.encoding", "A body is sent as it is, not compressed.", {
      headers: { "Accept-Encoding": "identity" },
    });
  }
  if (!JSON_TYPE.test(headers.get("Content-Type") ?? "")) {
    throw new Problem(415, "body.type", "A body is application/json in UTF-8, and Content-Type says so.", {
      headers: { "Accept-Post": "application/json" },
    });
  }
  return parsed(body);
}

function parsed(body: Uint8Array): { value: unknown; exact: unknown } {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new Problem(400, "body.malformed", "The body is not UTF-8.");
  }
  const limit = limitOf(text);
  if (limit === "depth") {
    throw new Problem(400, "body.too_deep", `The body nests deeper than ${MAX_DEPTH} levels.`);
  }
  if (limit === "values") {
    throw new Problem(413, "body.too_large", `A body has at most ${MAX_VALUES} values.`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Problem(
      400,
      "body.malformed",
      `The body is not JSON: ${(error as Error).message.slice(0, 200)}.`,
    );
  }
  if (text.includes("\\u") && !isText(value)) {
    throw new Problem(
      400,
      "body.malformed",
      "The body holds NUL, or half of a surrogate pair, which are no text.",
    );
  }
  return { value, exact: parseExactly(text) };
}

/** Whether all strings in it, names too, are ones that Postgres can hold. Escapes alone can make others. */
function isText(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed() && !value.includes("\0");
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([name, inner]) => isText(name) && isText(inner));
}
