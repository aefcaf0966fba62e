// What this instance knows of API keys, and the look-ups that are under way. Secrets never leave its memory.

import { z } from "@hono/zod-openapi";

const KEPT = 5_000;

const Record = z.object({
  api_key_id: z.string(),
  tenant_id: z.string(),
  role: z.string(),
  permissions: z.array(z.string()),
  fingerprint: z.string(),
  secrets: z.array(z.string()),
  expires_at: z.string().nullish(),
  allowed_ips: z.array(z.string()).nullish(),
  rate_per_minute: z.number().int().positive().nullish(),
  version: z.number().int(),
  epoch: z.string(),
  seq: z.number().int(),
});

export type KeyRecord = z.output<typeof Record>;

/** Undefined for a key that is not there. */
export function parseRecord(answer: unknown): KeyRecord | undefined {
  return answer === null ? undefined : Record.parse(answer);
}

export interface Remembered {
  record: KeyRecord;
  /** When its look-up began, and as which of this memory. */
  at: number;
  number: number;
}

interface LookUp {
  number: number;
  answer: Promise<KeyRecord | undefined>;
}

export class RecordMemory {
  readonly #known = new Map<string, Remembered>();
  readonly #underWay = new Map<string, LookUp>();
  #begun = 0;

  constructor(
    readonly look: (apiKeyId: string) => Promise<KeyRecord | undefined>,
    readonly now: () => number,
  ) {}

  /** Look-ups that have begun so far: what `lookUpAfter` counts from. */
  get begun(): number {
    return this.#begun;
  }

  get(apiKeyId: string): Remembered | undefined {
    return this.#known.get(apiKeyId);
  }

  /** Unless something else is known by now. */
  forget(apiKeyId: string, what: Remembered | undefined): void {
    if (this.#known.get(apiKeyId) === what) this.#known.delete(apiKeyId);
  }

  isUnderWay(apiKeyId: string): boolean {
    return this.#underWay.has(apiKeyId);
  }

  /** Until the look-up that is under way has ended, whatever it brings. */
  async settled(apiKeyId: string): Promise<void> {
    await this.#underWay.get(apiKeyId)?.answer.catch(() => {});
  }

  /** What a look-up brings that began after the first `begun`: one of others, or one of our own. Rejects as `look` does;
   * what was known before stays then. */
  async lookUpAfter(begun: number, apiKeyId: string): Promise<KeyRecord | undefined> {
    const known = this.#known.get(apiKeyId);
    if (known !== undefined && known.number > begun) return known.record;
    const others = this.#underWay.get(apiKeyId);
    if (others !== undefined && others.number > begun) return await others.answer;
    const at = this.now();
    const number = ++this.#begun;
    const lookUp: LookUp = { number, answer: this.look(apiKeyId) };
    this.#underWay.set(apiKeyId, lookUp);
    // only the last that began counts: what an older one brings may have been revoked since
    const isLast = () => this.#underWay.get(apiKeyId) === lookUp;
    try {
      const record = await lookUp.answer;
      if (isLast()) this.#put(apiKeyId, record && { record, at, number });
      return record;
    } finally {
      if (isLast()) this.#underWay.delete(apiKeyId);
    }
  }

  #put(apiKeyId: string, remembered: Remembered | undefined): void {
    this.#known.delete(apiKeyId);
    if (remembered === undefined) return;
    const [oldest] = this.#known.keys();
    if (this.#known.size >= KEPT) this.#known.delete(oldest!);
    this.#known.set(apiKeyId, remembered);
  }
}
