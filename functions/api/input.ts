// What a request carries, validated: every failure of its path, query, headers and body at once, each with its place.

import type { z } from "@hono/zod-openapi";

import { limitOf, MAX_DEPTH, MAX_DIGITS, MAX_VALUES, parseExactly } from "./json.ts";
import { repeatedNameIn } from "./json_names.ts";
import { type Failure, invalid, type Place, Problem } from "./problems.ts";

export interface Sent {
  path: Record<string, string>;
  /** As sent, with its "?". */
  query: string;
  headers: Headers;
  /** Gone once it was read: while the database works, only what it was sent is kept of a body. */
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

/** `isRead`: of a GET, which proxies and browsers may ask with If-None-Match whether it takes that or not. */
export function readAsked(sent: Sent, schemas: Schemas, isRead: boolean) {
  const failures = unmetConditions(sent.headers, schemas.headers, isRead);
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

/** Passed over, `If-None-Match: *` of a caller who wants to create alone would replace what there is. */
function unmetConditions(headers: Headers, schema: z.ZodType | undefined, isRead: boolean): Failure[] {
  const taken = (schema as z.ZodObject | undefined)?.shape ?? {};
  const conditions: [string, string][] = [["if-match", "is for changes of one row"]];
  if (!isRead) conditions.push(["if-none-match", "is for reads; a change of one row takes If-Match"]);
  return conditions.filter(([name]) => headers.has(name) && !(name in taken)).map(([field, detail]) => (
    { in: "header", field, code: "unknown", detail: `is not taken here: it ${detail}` }
  ));
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
  return [{ in: place, field: issue.path.join("."), code: issue.code, detail: detailOf(place, issue) }];
}

function detailOf(place: Place, issue: z.core.$ZodIssue): string {
  if (issue.message.endsWith(", received undefined")) return "is missing";
  if (issue.message === "Invalid input") return "is of none of the forms that are taken";
  // a plus of a zone is a blank by then
  const isTime = place === "query" && issue.code === "invalid_format" && issue.format === "datetime";
  if (isTime) return `${issue.message}; in a query + is written %2B`;
  return issue.message.replace(/^Invalid input: /, "").replace(/^Invalid/, "invalid");
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

function bodyOf(sent: Sent, isAsked: boolean): { value: unknown; exact: unknown } | undefined {
  const { headers, body } = sent;
  sent.body = new Uint8Array();
  if (!isAsked) {
    if (body.byteLength > 0) throw new Problem(400, "body.unexpected", "This route takes no body.");
    return undefined;
  }
  if (body.byteLength === 0) {
    throw new Problem(400, "body.malformed", "There is no body; this route takes JSON.");
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
  if (limit === "numbers") {
    const detail = `A number has at most ${MAX_DIGITS} digits before its point, and ${MAX_DIGITS} after it.`;
    throw new Problem(413, "body.too_large", detail);
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
  const repeated = repeatedNameIn(text);
  if (repeated !== undefined) {
    throw new Problem(400, "body.malformed", `The body names ${repeated.slice(0, 100)} twice in one object.`);
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
