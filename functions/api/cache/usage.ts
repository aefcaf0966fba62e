// Which queries a tenant uses most, for warming: counted here, handed to Redis about once a second.

import { defineScript, type RedisLink } from "../../_shared/redis.ts";
import type { ReadRequest, Tag } from "./cache.ts";

const MOST_KEPT = 50;
const MOST_COUNTED = 500;
const LONGEST_MEMBER = 2_000;
const EVERY_MS = 1_000;
const KEPT_SECONDS = 24 * 3600;
const HALVED_EVERY_SECONDS = 600;

/** KEYS used, halved; ARGV member, count, … Use of long ago counts for less: all is halved now and then. */
const ADD = defineScript(`
if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ${HALVED_EVERY_SECONDS}) then
  redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[1], 'WEIGHTS', '0.5')
end
for n = 1, #ARGV, 2 do redis.call('ZINCRBY', KEYS[1], ARGV[n + 1], ARGV[n]) end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -${MOST_KEPT + 1})
redis.call('EXPIRE', KEYS[1], ${KEPT_SECONDS})
return redis.call('ZCARD', KEYS[1])
`);

interface Member {
  api_key_id: string;
  fingerprint: string;
  query: string;
  tags: Tag[];
}

export class Usage {
  #counted = new Map<string, Map<string, number>>();
  #size = 0;
  #handedOver: number;

  constructor(readonly link: RedisLink, readonly now: () => number) {
    this.#handedOver = now();
  }

  /** Counts one use. Never waits, never throws; what is handed over in the background may get lost. */
  note(request: ReadRequest): Promise<void> | undefined {
    const member = JSON.stringify(memberOf(request));
    const ofTenant = this.#counted.get(request.tenant) ?? new Map<string, number>();
    const known = ofTenant.get(member);
    if (member.length <= LONGEST_MEMBER && (known !== undefined || this.#size < MOST_COUNTED)) {
      if (known === undefined) this.#size++;
      this.#counted.set(request.tenant, ofTenant.set(member, (known ?? 0) + 1));
    }
    if (this.now() - this.#handedOver < EVERY_MS) return undefined;
    return this.#handOver();
  }

  async most(tenant: string, most: number): Promise<ReadRequest[]> {
    const members = await this.link.run(["ZREVRANGE", `pms:{${tenant}}:used`, "0", String(MOST_KEPT - 1)]);
    const requests = new Map<string, ReadRequest>();
    for (const text of members as string[]) {
      const { api_key_id: apiKeyId, fingerprint, query, tags } = JSON.parse(text) as Member;
      const name = `${fingerprint}\n${query}`; // several keys of equal rights read the same entry
      if (!requests.has(name)) {
        requests.set(name, { tenant, fingerprint, query, tags, apiKeyId, warming: true });
      }
    }
    return [...requests.values()].slice(0, most);
  }

  async #handOver(): Promise<void> {
    const counted = this.#counted;
    this.#counted = new Map();
    this.#size = 0;
    this.#handedOver = this.now();
    for (const [tenant, members] of counted) {
      const keys = [`pms:{${tenant}}:used`, `pms:{${tenant}}:used:halved`];
      const counts = [...members].flatMap(([member, count]) => [member, String(count)]);
      await this.link.script(ADD, keys, counts).catch(() => {});
    }
  }
}

function memberOf(request: ReadRequest): Member {
  const { apiKeyId, fingerprint, query, tags } = request;
  return { api_key_id: apiKeyId, fingerprint, query, tags };
}
