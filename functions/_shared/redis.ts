// One connection to Redis that never makes a caller wait for a Redis that is away. The client library brings the
// protocol; when to connect, how long to wait and when to stop asking is decided here, because its own answers
// (queue while offline, retry, 5 s) are for programs that cannot go on without Redis. We can.

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

import { createClient, ErrorReply } from "@redis/client";

const TIMEOUT_MS = 100;
const CONNECT_TIMEOUT_MS = 2_000;
/** How long the first calls of an instance wait for the connection. */
const GREETING_MS = 500;
const CIRCUIT_OPEN_MS = 1_000;
/** A time-out is waited for in so many turns of the event loop: see `answerInTime`. */
const TURNS = 4;
/** Time-outs that a command waits at most while others are answered: then it waits in a queue of our own making. */
const ROUNDS = 10;
const MOST_WAITING = 20_000;
/** Replies by which a server says that it serves nobody for now. */
const SERVES_NOBODY = /^(LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOAUTH|WRONGPASS|READONLY)\b/;

export interface Script {
  readonly source: string;
  readonly sha: string;
}

export interface RedisLink {
  /** The reply, by RESP2 (strings, numbers, null, arrays). Throws RedisAway for every failure. */
  run(command: (string | Uint8Array)[]): Promise<unknown>;
  script(lua: Script, keys: string[], args: string[]): Promise<unknown>;
  /** True while calls are refused at once. */
  readonly away: boolean;
  close(): Promise<void>;
}

/** Redis is away: not connected, circuit open, slower than the limit, or it refused the command (`cause`). */
export class RedisAway extends Error {
  override name = "RedisAway";
}

export interface RedisOptions {
  /** How long a command may take, in milliseconds. */
  timeoutMs?: number;
  now?: () => number;
}

export function defineScript(source: string): Script {
  return { source, sha: createHash("sha1").update(source).digest("hex") };
}

/** Connects in the background and never throws: a URL that cannot be read is a Redis that is away. */
export function openRedis(url: string, options: RedisOptions = {}): RedisLink {
  return new Link(url, options.timeoutMs ?? TIMEOUT_MS, options.now ?? Date.now);
}

type Client = ReturnType<typeof connectionTo>;

class Link implements RedisLink {
  #client: Client | undefined;
  #connecting: Promise<void> | undefined;
  #closed = false;
  /** Until then nobody asks; the first call afterwards connects again, in the background. */
  #openUntil = 0;
  /** Only the very first calls wait for the connection: an instance that just started has nothing better to do. */
  #greeted = false;
  #replies = 0;

  constructor(readonly url: string, readonly timeoutMs: number, readonly now: () => number) {
    this.#connect();
  }

  get away(): boolean {
    return this.#client === undefined && (this.#greeted || this.#connecting === undefined);
  }

  async run(command: (string | Uint8Array)[]): Promise<unknown> {
    const client = await this.#ready();
    try {
      const answer = client.sendCommand(command.map(plain)).finally(() => this.#replies++);
      return await answerInTime(answer, this.timeoutMs, () => this.#replies);
    } catch (error) {
      throw this.#failure(client, error);
    }
  }

  async script(lua: Script, keys: string[], args: string[]): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    try {
      return await this.run(["EVALSHA", lua.sha, ...rest]);
    } catch (error) {
      if (!isNoScript(error)) throw error;
    }
    return await this.run(["EVAL", lua.source, ...rest]);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#drop(this.#client);
    await this.#connecting;
  }

  async #ready(): Promise<Client> {
    if (this.#client === undefined && !this.#closed) {
      if (this.#connecting === undefined && this.now() >= this.#openUntil) this.#connect();
      if (!this.#greeted && this.#connecting !== undefined) {
        await answerInTime(this.#connecting, GREETING_MS).catch(() => {});
        this.#greeted = true;
      }
    }
    if (this.#client === undefined) throw new RedisAway("Redis is not connected");
    return this.#client;
  }

  #connect(): void {
    this.#connecting = this.#attempt().finally(() => this.#connecting = undefined);
  }

  async #attempt(): Promise<void> {
    let client: Client | undefined;
    try {
      const made = client = connectionTo(this.url);
      made.on("error", () => this.#lost(made));
      // Redis may accept and then say nothing (paused, loading): connected is who has answered.
      await answerInTime(made.connect().then(() => made.ping()), CONNECT_TIMEOUT_MS);
      if (this.#closed) return this.#drop(made);
      this.#client = made;
      this.#greeted = true;
    } catch {
      this.#openUntil = this.now() + CIRCUIT_OPEN_MS;
      this.#drop(client);
    }
  }

  /** What a caller is told; what concerns the whole connection also opens the circuit. */
  #failure(client: Client, error: unknown): RedisAway {
    if (!(error instanceof ErrorReply) || SERVES_NOBODY.test(error.message)) this.#lost(client);
    return new RedisAway(`Redis: ${error instanceof Error ? error.message : error}`, { cause: error });
  }

  /** A connection that once was late is not used again: late replies would only pile up behind it. */
  #lost(client: Client): void {
    if (this.#client !== client) return;
    this.#openUntil = this.now() + CIRCUIT_OPEN_MS;
    this.#drop(client);
  }

  #drop(client: Client | undefined): void {
    if (this.#client === client) this.#client = undefined;
    client?.destroy();
  }
}

function connectionTo(url: string) {
  return createClient({
    url,
    RESP: 2,
    disableOfflineQueue: true,
    commandsQueueMaxLength: MOST_WAITING,
    commandOptions: { timeout: undefined },
    socket: { connectTimeout: CONNECT_TIMEOUT_MS, reconnectStrategy: false },
  });
}

/** Rejects after `milliseconds` in which `progress` stood still, taken in turns: a loop that was busy itself (another
 * request, a collection of garbage) finds its timers and the reply due together, and must read before it accuses Redis.
 * Of a thousand commands sent at once the last is late without anybody's fault; dropping all would send a herd elsewhere. */
async function answerInTime<T>(answer: Promise<T>, milliseconds: number, progress = () => 0): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const wait = (turns: number, rounds: number, seen: number) => {
      timer = setTimeout(() => {
        if (turns > 1) wait(turns - 1, rounds, seen);
        else if (rounds > 1 && progress() !== seen) wait(TURNS, rounds - 1, progress());
        else reject(new Error(`no answer within ${milliseconds} ms`));
      }, milliseconds / TURNS);
    };
    wait(TURNS, ROUNDS, progress());
  });
  answer.catch(() => {}); // it may fail after the time-out, when nobody listens any more
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

function plain(part: string | Uint8Array): string | Buffer {
  return typeof part === "string" ? part : Buffer.from(part.buffer, part.byteOffset, part.byteLength);
}

function isNoScript(error: unknown): boolean {
  return error instanceof RedisAway && error.cause instanceof ErrorReply &&
    error.cause.message.startsWith("NOSCRIPT");
}
