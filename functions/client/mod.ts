// Every route of the PMS for a machine that has an API key. No dependencies: Deno, Node 20 and workers of browsers have all
// that it takes. Copy this folder, or import it from where it is.
//
//   const api = new PmsApi({ baseUrl: "https://<project>.supabase.co/functions/v1/api", key, secret });
//   const boot = await api.createProduct({ sku: "BOOT-42", name: "Boot", price: 119.9 });
//   for await (const product of api.everyProduct({ status: "active" })) …
//
// Reads that follow a write see it: its X-Seq goes along as their X-Min-Seq; after one that was answered without, or not at all, they
// go past the cache for as long as that keeps anything. All methods throw PmsError.

import { type Answer, type Call, makeCall, type Options, type Sent } from "./call.ts";
import { PmsError } from "./errors.ts";

export type { Options, Rules } from "./call.ts";
export { type Failure, PmsError } from "./errors.ts";
export { sign } from "./signature.ts";

export type Row = Record<string, unknown>;
export type Query = Record<string, string | number | boolean | undefined>;

export interface Page {
  data: Row[];
  /** What `after` has to be for the page behind this one; null at the end. */
  next: string | null;
}

export interface Write {
  /** Outlives the process; without it each call has one of its own. */
  idempotencyKey?: string;
}

export interface Change extends Write {
  /** Another version is refused with `version.stale`. */
  expectedVersion?: number;
}

/** Milliseconds. No answer lies in the cache for longer: a minute as fresh, ten for the day the database fails. */
const CACHE_KEEPS = 12 * 60_000;

export class PmsApi {
  /** The X-Seq of one's last write; hand it to another process to let that see the write too. */
  minSeq: string | undefined;
  readonly #call: Call;
  readonly #now: () => number;
  /** A write was answered without its place in the log. */
  #unplacedUntil = -Infinity;
  /** Nobody knows whether a write took effect, or will yet. */
  #unknownUntil = -Infinity;

  constructor(options: Options) {
    this.#now = options.now ?? Date.now;
    this.#call = makeCall(options);
  }

  /** One page: `limit` (to 200), `after`, `sort` (`name`, `-price`, …), `fields`, and filters. */
  products(query: Query = {}): Promise<Page> {
    return this.#page("/products", query);
  }

  everyProduct(query: Query = {}): AsyncGenerator<Row> {
    return this.#every("/products", query);
  }

  /** Undefined: it is still what `ifNoneMatch`, an ETag such as `"3"`, names. */
  async product(
    id: string,
    options: { fields?: string; ifNoneMatch?: string } = {},
  ): Promise<Row | undefined> {
    const headers: Record<string, string> = {};
    if (options.ifNoneMatch !== undefined) headers["If-None-Match"] = options.ifNoneMatch;
    const answer = await this.#read(`/products/${part(id)}`, { fields: options.fields }, headers);
    return answer.status === 304 ? undefined : rowOf(answer);
  }

  createProduct(product: Row, options: Write = {}): Promise<Row> {
    return this.#write("POST", "/products", product, options);
  }

  replaceProduct(id: string, product: Row, options: Change = {}): Promise<Row> {
    return this.#write("PUT", `/products/${part(id)}`, product, options);
  }

  async deleteProduct(id: string, options: Change = {}): Promise<void> {
    await this.#send("DELETE", `/products/${part(id)}`, undefined, options);
  }

  publishProduct(id: string, options: Change = {}): Promise<Row> {
    return this.#write("POST", `/products/${part(id)}/publish`, undefined, options);
  }

  /** Up to 1,000 rows, matched by `id` or else `sku`; what became of each. */
  upsertProducts(rows: Row[], options: Write & { allOrNothing?: boolean } = {}): Promise<Row> {
    const body = { rows, all_or_nothing: options.allOrNothing ?? false };
    return this.#write("POST", "/products/bulk", body, options);
  }

  /** All lines or none. */
  adjustStock(lines: Row[], options: Write & { reason?: string } = {}): Promise<Row> {
    return this.#write("POST", "/inventory/adjust", { lines, reason: options.reason }, options);
  }

  stockStatus(query: Query = {}): Promise<Page> {
    return this.#page("/inventory/status", query);
  }

  stockHistory(query: Query = {}): Promise<Page> {
    return this.#page("/inventory/history", query);
  }

  everyLevel(query: Query = {}): AsyncGenerator<Row> {
    return this.#every("/inventory/status", query);
  }

  everyMovement(query: Query = {}): AsyncGenerator<Row> {
    return this.#every("/inventory/history", query);
  }

  async order(id: string): Promise<Row> {
    return rowOf(await this.#read(`/orders/${part(id)}`, {}));
  }

  /** The same `id` counts once, whenever it comes. */
  sendWebhook(kind: "product" | "inventory" | "order", event: Row): Promise<Row> {
    return this.#write("POST", `/webhook/${kind}`, event, {});
  }

  async health(): Promise<Row> {
    return rowOf(await this.#read("/health", {}));
  }

  async openapi(): Promise<Row> {
    return rowOf(await this.#read("/openapi.json", {}));
  }

  async #page(path: string, query: Query): Promise<Page> {
    const { data, next } = rowOf(await this.#read(path, query));
    if (!Array.isArray(data) || !(next === null || typeof next === "string")) {
      throw new PmsError("unreadable", { detail: `${path} answered no page` });
    }
    return { data, next };
  }

  async *#every(path: string, query: Query): AsyncGenerator<Row> {
    for (let after = query.after;;) {
      const page = await this.#page(path, { ...query, after });
      yield* page.data;
      if (page.next === null) return;
      after = page.next;
    }
  }

  #read(path: string, query: Query, headers: Record<string, string> = {}): Promise<Answer> {
    const told = Object.entries(query).filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value!)}`);
    const sent = { ...headers };
    if (this.minSeq !== undefined) sent["X-Min-Seq"] = this.minSeq;
    if (this.#now() < Math.max(this.#unplacedUntil, this.#unknownUntil)) sent["Cache-Control"] = "no-cache";
    return this.#call({
      method: "GET",
      path: told.length > 0 ? `${path}?${told.join("&")}` : path,
      headers: sent,
    });
  }

  async #write(method: string, path: string, body: unknown, options: Change): Promise<Row> {
    return rowOf(await this.#send(method, path, body, options));
  }

  async #send(method: string, path: string, body: unknown, options: Change): Promise<Answer> {
    const { expectedVersion, idempotencyKey } = options;
    const headers: Record<string, string> = expectedVersion === undefined
      ? {}
      : { "If-Match": `"${expectedVersion}"` };
    const sent: Sent = { method, path, body, headers, idempotencyKey };
    const answer = await this.#call(sent).catch((error) => {
      if (!(error instanceof PmsError && error.withoutEffect)) {
        this.#unknownUntil = this.#now() + CACHE_KEEPS;
      }
      throw error;
    });
    const seq = answer.headers.get("X-Seq") ?? undefined;
    this.minSeq = later(this.minSeq, seq);
    // a later place is behind that of all writes before it; events are worked later, and have none
    if (seq !== undefined) this.#unplacedUntil = -Infinity;
    else if (!path.startsWith("/webhook/")) this.#unplacedUntil = this.#now() + CACHE_KEEPS;
    return answer;
  }
}

/** Which of two X-Seq is further; of two epochs, `other`: the log was begun anew. */
export function later(one: string | undefined, other: string | undefined): string | undefined {
  if (one === undefined || other === undefined) return other ?? one;
  const [, epoch, place] = /^(.*):(\d+)$/.exec(one) ?? [];
  const [, itsEpoch, itsPlace] = /^(.*):(\d+)$/.exec(other) ?? [];
  return epoch !== undefined && epoch === itsEpoch && Number(place) > Number(itsPlace) ? one : other;
}

function rowOf(answer: Answer): Row {
  if (typeof answer.data !== "object" || answer.data === null || Array.isArray(answer.data)) {
    throw new PmsError("unreadable", { detail: "the answer is no object" });
  }
  return answer.data as Row;
}

/** As one part of a path. */
function part(text: string): string {
  if (/^\.{0,2}$/.test(text)) throw new TypeError("an id is not empty, and no dots alone");
  return encodeURIComponent(text);
}
