// API keys as the database knows them. Secrets stay in this instance's memory, for seconds, and never go to Redis.

import { z } from "@hono/zod-openapi";

import { parseSeq, type Seq } from "../seq.ts";

const MEMORY_MS = 10_000;
const KEPT = 5_000;
const NOWHERE: Seq = { epoch: "none", seq: 0 };

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

export interface Keys {
  /** Undefined for a key that is unknown, revoked or expired. Throws a Problem when the database does not answer. */
  find(apiKeyId: string): Promise<KeyRecord | undefined>;
  /**
   * As `find`, if `holds` says yes to it. A no costs the same calls whether or not there is such a key, and whether or
   * not it is remembered: else time would tell.
   */
  findIf(
    apiKeyId: string,
    holds: (record: KeyRecord | undefined) => Promise<boolean>,
  ): Promise<KeyRecord | undefined>;
  /** As find, never from memory. */
  look(apiKeyId: string): Promise<KeyRecord | undefined>;
}

interface Wiring {
  /** `worker.read_api_key`. */
  read: (apiKeyId: string) => Promise<unknown>;
  /** Absent without Redis: then nothing says that a key changed, and each call looks it up. */
  changedSince?: (apiKeyId: string, seq: Seq) => Promise<boolean>;
  now: () => number;
}

interface Known {
  record: Promise<KeyRecord | undefined>;
  at: number;
  turn: number;
}

export function makeKeys({ read, changedSince, now }: Wiring): Keys {
  const known = new Map<string, Known>();
  let turns = 0;

  const look = async (apiKeyId: string) => {
    const answer = await read(apiKeyId);
    return answer === null ? undefined : Record.parse(answer);
  };

  /** Looks it up and remembers it, if it is there. A look that began after `turn` will do. */
  const lookUp = (apiKeyId: string, turn: number): Promise<KeyRecord | undefined> => {
    const begun = known.get(apiKeyId);
    if (begun !== undefined && begun.turn > turn) return begun.record;
    const entry: Known = { record: look(apiKeyId), at: now(), turn: ++turns };
    if (known.size >= KEPT) known.clear();
    known.set(apiKeyId, entry);
    const forget = () => {
      if (known.get(apiKeyId) === entry) known.delete(apiKeyId);
    };
    entry.record.then((record) => record ?? forget(), forget);
    return entry.record;
  };

  /** What is remembered and has not changed; always one question to Redis, never one to the database. */
  const remembered = async (apiKeyId: string): Promise<KeyRecord | undefined> => {
    const entry = known.get(apiKeyId);
    const isRecent = entry !== undefined && now() - entry.at < MEMORY_MS;
    const record = isRecent ? await entry.record.catch(() => undefined) : undefined;
    const seq = record === undefined ? NOWHERE : parseSeq(`${record.epoch}:${record.seq}`)!;
    const changed = await changedSince!(apiKeyId, seq).catch(() => true);
    return changed ? undefined : living(record);
  };

  const readAnew = async (apiKeyId: string, turn: number) =>
    living(await (changedSince === undefined ? look(apiKeyId) : lookUp(apiKeyId, turn)));

  return {
    look: async (apiKeyId) => living(await look(apiKeyId)),
    async find(apiKeyId) {
      const turn = turns;
      return (changedSince && await remembered(apiKeyId)) ?? await readAnew(apiKeyId, turn);
    },
    async findIf(apiKeyId, holds) {
      const turn = turns;
      const record = changedSince && await remembered(apiKeyId);
      if (await holds(record)) return record;
      const anew = await readAnew(apiKeyId, turn);
      return await holds(anew) ? anew : undefined;
    },
  };

  function living(record: KeyRecord | undefined): KeyRecord | undefined {
    return record?.expires_at && Date.parse(record.expires_at) <= now() ? undefined : record;
  }
}
