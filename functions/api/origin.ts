// The database, through PostgREST: as the service for the RPCs of schema `worker`, as a principal for everything else.
// Every call has a time-out and a bound on its answer; what goes wrong leaves as a Problem.

import { isRow, limitOf, MAX_VALUES, parseExactly, type Row } from "./json.ts";
import { problemOf } from "./origin_errors.ts";
import { Problem, unavailable } from "./problems.ts";
import type { Settings } from "./settings.ts";

export const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

/** Milliseconds. */
export const PATIENCE = { service: 5_000, read: 10_000, write: 20_000, bulk: 60_000 };

/** Whole tries of a call that ends in a deadlock or a serialization failure; nothing of such a one was kept. */
const TRIES = 4;

export interface Caller {
  /** Calls `worker.<name>` and gives its JSON. */
  service(name: string, args: Row, patience?: number): Promise<unknown>;
  /** Rows of a table or view that the principal may see. `query` is PostgREST's, made by filters.ts. */
  rows(token: string, table: string, query: URLSearchParams): Promise<Row[]>;
  /** Calls a function of schema `public` as the principal; `args` is JSON. */
  command(token: string, name: string, args: string, patience?: number): Promise<unknown>;
}

interface Wiring {
  fetch: typeof fetch;
  /** Waits so many milliseconds. */
  pause: (milliseconds: number) => Promise<void>;
}

export function makeOrigin(settings: Settings, { fetch, pause }: Wiring): Caller {
  const rest = `${settings.supabaseUrl}/rest/v1`;
  const send = async (url: string, init: RequestInit, patience: number): Promise<unknown> => {
    for (let attempt = 1;; attempt++) {
      const { status, text } = await exchange(fetch, url, init, patience);
      if (status >= 200 && status < 300) return text === "" ? null : parsed(text);
      const { problem, again } = problemOf(status, text);
      if (!again || attempt === TRIES) throw problem;
      await pause(10 * 2 ** attempt * (0.5 + Math.random()));
    }
  };
  const post = (
    url: string,
    profile: string,
    apikey: string,
    token: string,
    body: string,
    patience: number,
  ) =>
    send(url, {
      method: "POST",
      headers: {
        apikey,
        authorization: `Bearer ${token}`,
        accept: "application/json",
        "content-type": "application/json",
        "content-profile": profile,
      },
      body,
    }, patience);
  return {
    service: (name, args, patience = PATIENCE.service) =>
      post(
        `${rest}/rpc/${name}`,
        "worker",
        settings.serviceKey,
        settings.serviceKey,
        JSON.stringify(args),
        patience,
      ),
    command: (token, name, args, patience = PATIENCE.write) =>
      post(`${rest}/rpc/${name}`, "public", settings.anonKey, token, args, patience),
    async rows(token, table, query) {
      const headers = {
        apikey: settings.anonKey,
        authorization: `Bearer ${token}`,
        accept: "application/json",
        "accept-profile": "public",
      };
      const rows = await send(`${rest}/${table}?${query}`, { headers }, PATIENCE.read);
      if (!Array.isArray(rows) || !rows.every(isRow)) throw oddAnswer();
      return rows;
    },
  };
}

async function exchange(fetch: Wiring["fetch"], url: string, init: RequestInit, patience: number) {
  const signal = AbortSignal.timeout(patience);
  try {
    const answer = await fetch(url, { ...init, signal, redirect: "manual" });
    return { status: answer.status, text: await boundedText(answer) };
  } catch (error) {
    if (error instanceof Problem) throw error;
    if (signal.aborted) {
      throw new Problem(504, "origin.timeout", `The database did not answer within ${patience / 1000} s.`, {
        hint: "A write may have taken effect: send it again with the same Idempotency-Key.",
        headers: { "Retry-After": "1" },
      });
    }
    throw unavailable("origin.unreachable", "The database cannot be reached at this moment.");
  }
}

async function boundedText(answer: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.byteLength;
    // leaving the loop cancels the stream
    if (bytes > MAX_ANSWER_BYTES) throw answerTooLarge("more than 8 MiB");
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function parsed(text: string): unknown {
  if (limitOf(text) === "values") throw answerTooLarge(`more than ${MAX_VALUES} values`);
  try {
    return parseExactly(text);
  } catch {
    throw oddAnswer();
  }
}

function answerTooLarge(howLarge: string): Problem {
  return new Problem(422, "answer.too_large", `The answer would have ${howLarge}.`, {
    hint: "Ask for fewer rows (limit) or for fewer fields (fields).",
  });
}

export function oddAnswer(): Problem {
  return new Problem(502, "origin.answer_invalid", "The database's answer was not what was asked for.");
}
