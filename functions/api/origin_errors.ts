// PostgREST's errors as ours. Classified on the SQLSTATE, not on its HTTP status: it answers a deadlock with 500.

import { type Failure, Problem, unavailable } from "./problems.ts";

export interface Verdict {
  problem: Problem;
  /** Nothing was kept, and the same call may well succeed at once. */
  again?: boolean;
}

interface Told {
  code: string;
  message: string;
  details: string;
  hint: string | undefined;
}

export function problemOf(status: number, text: string): Verdict {
  const told = readError(text);
  if (told === undefined) {
    return { problem: status >= 500 ? unavailable("origin.unavailable", AWAY) : odd(status) };
  }
  if (told.code === "40001" || told.code === "40P01") {
    return {
      problem: unavailable(
        "database.contended",
        "Others change the same rows at this moment; nothing was kept.",
      ),
      again: true,
    };
  }
  return { problem: raisedByUs(status, told) ?? ofPostgres(told) ?? ofPostgrest(status, told) };
}

const AWAY = "The database cannot answer at this moment.";

/** `raise … sqlstate 'PT4xx'`: the message is the code, the digits are the status. */
function raisedByUs(status: number, told: Told): Problem | undefined {
  if (!/^PT[45]\d\d$/.test(told.code)) return undefined;
  const failures = failuresIn(told.details);
  const detail = failures === undefined ? told.details : summary(failures);
  const headers: Record<string, string> = {};
  if (status === 429 || status === 503) headers["Retry-After"] = "5";
  const more = { hint: told.hint, failures, sqlstate: told.code, headers };
  return new Problem(Number(told.code.slice(2)), told.message, detail || told.message, more);
}

/** Of a database function that tells all failures at once: `details` is a JSON array of objects. */
function failuresIn(details: string): Failure[] | undefined {
  if (!details.startsWith("[")) return undefined;
  try {
    const list = JSON.parse(details);
    return list.length > 0 && list.every((item: unknown) => typeof item === "object" && item !== null)
      ? list
      : undefined;
  } catch {
    return undefined;
  }
}

function summary(failures: Failure[]): string {
  const first = failures[0]!;
  const detail = first.detail ?? (first.error as Failure | undefined)?.detail ?? first.code ??
    "failures lists why.";
  return failures.length === 1 ? String(detail) : `${detail} And ${failures.length - 1} more: see failures.`;
}

/** Of constraints that callers meet often, what Postgres' message leaves unsaid. */
const IN_WORDS: Record<string, { detail: string; field: string; hint: string }> = {
  "product.sku_living": {
    detail: "Another product has this sku.",
    field: "sku",
    hint: "Send another sku, or change that product: GET /pms/v1/products?sku=… finds it.",
  },
};

/** What Postgres itself refuses. A constraint's name is a code as it is in upsert_products: product.price_scale. */
function ofPostgres(told: Told): Problem | undefined {
  const { code: sqlstate, message, hint } = told;
  const more = { sqlstate, hint };
  const constraint = /constraint "([^"]+)"/.exec(message)?.[1];
  const named = constraint?.replace(/^(product|location|product_image|order)s_/, "$1.") ?? "row.invalid";
  if (sqlstate === "42501") return new Problem(403, "access.denied", "The key may not do this.", more);
  const words = IN_WORDS[named];
  if (words !== undefined) {
    const { detail, field, hint } = words;
    const failures: Failure[] = [{ in: "body", field, code: named, detail }];
    return new Problem(409, named, detail, { sqlstate, hint, failures });
  }
  if (sqlstate === "23505" || sqlstate === "23503") return new Problem(409, named, message, more);
  if (sqlstate.startsWith("23")) return new Problem(422, named, message, more);
  if (sqlstate.startsWith("22")) return new Problem(400, "value.invalid", message, more);
  if (sqlstate === "57014") {
    return unavailable("database.timeout", "The database took too long and stopped.", 5);
  }
  if (sqlstate === "54001") return new Problem(400, "body.too_deep", "The body is nested too deeply.", more);
  if (/^(08|53|57|58|XX)/.test(sqlstate)) return unavailable("origin.unavailable", AWAY, 2);
  return undefined;
}

/** PGRST3xx: our token was refused, so this function is set up wrongly; PGRST0xx: no connection to the database. */
function ofPostgrest(status: number, told: Told): Problem {
  if (told.code.startsWith("PGRST3")) {
    return new Problem(
      503,
      "origin.token_refused",
      "The database does not know the key that PMS_JWT_KEY is.",
    );
  }
  if (told.code.startsWith("PGRST0") || status >= 500) return unavailable("origin.unavailable", AWAY, 2);
  return odd(status);
}

/** A refusal that nobody foresaw: a fault of ours, or a schema that is older than this function. */
function odd(status: number): Problem {
  return new Problem(502, "origin.answer_invalid", `The database refused what it was asked for (${status}).`);
}

function readError(text: string): Told | undefined {
  try {
    const { code, message, details, hint } = JSON.parse(text);
    if (typeof code !== "string" || typeof message !== "string") return undefined;
    return { code, message, details: typeof details === "string" ? details : "", hint: hint || undefined };
  } catch {
    return undefined;
  }
}
