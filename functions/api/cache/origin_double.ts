// An origin with a log, and the job that raises tags, for tests: the data is the number of the last change.

import type { RedisLink } from "../../_shared/redis.ts";
import { until } from "../../_shared/redis_server.ts";
import type { Fill, Filled, ReadRequest } from "./cache.ts";

export const EPOCH = "e1";

export class Origin {
  /** Committed, and in the log under the same number. */
  last = 1;
  fills = 0;
  failing = false;
  /** Called between reading the place in the log and reading the data, and after both. */
  between: () => Promise<void> = () => Promise.resolve();
  after: () => Promise<void> = () => Promise.resolve();

  readonly fill: Fill = async () => {
    this.fills++;
    if (this.failing) throw new Error("the origin is away");
    const seq = { epoch: EPOCH, seq: this.last };
    await this.between();
    const body = String(this.last);
    await this.after();
    return { seq, status: 200, headers: { "Content-Type": "application/json" }, body };
  };

  /** The naive order: data first. */
  readonly fillSeqLast: Fill = async (): Promise<Filled> => {
    this.fills++;
    const body = String(this.last);
    await this.between();
    const seq = { epoch: EPOCH, seq: this.last };
    await this.after();
    return { seq, status: 200, headers: {}, body };
  };
}

/** Waits for the connection: on a busy machine the first one takes longer than a link is patient. */
export async function workerLives(redis: RedisLink): Promise<void> {
  const beat = () => redis.run(["SET", "pms:cache:alive", "worker", "EX", "15"]);
  await until(() => beat().then(() => true, () => false));
}

/** As the job does it: the tag first, then how far it got. */
export async function invalidate(
  redis: RedisLink,
  tenant: string,
  seq: number,
  tag = "products",
): Promise<void> {
  await redis.run(["SET", `pms:{${tenant}}:tag:${tag}`, `${EPOCH}:${seq}`, "EX", "172800"]);
  await redis.run(["SET", `pms:{${tenant}}:through`, `${EPOCH}:${seq}`, "EX", "172800"]);
}

export function request(more: Partial<ReadRequest> = {}): ReadRequest {
  return {
    tenant: "t1",
    fingerprint: "viewer",
    tags: ["products"],
    query: "/pms/products?limit=50",
    apiKeyId: "k1",
    ...more,
  };
}
