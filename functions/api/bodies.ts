// Bodies of requests: counted while they are read, because Content-Length is what a caller says, and held against a
// budget until they are answered, because what becomes of them lives as long as the database takes.

import { Problem, unavailable } from "./problems.ts";

/** Milliseconds for a whole body. */
export const BODY_PATIENCE = 30_000;

/** Bytes up to which a body is small: it may have the last eighth of each share, and its key is not looked up before. */
export const SMALL = 64 * 1024;

/**
 * Memory that the bodies of an instance may stand for; the hosted runtime ends one of 256 MB, of which it needs some 90
 * itself.
 */
const MOST_BYTES = 96 * 1024 * 1024;

/**
 * What a byte of an admitted body is counted as. Measured with 24 bodies of 4.6 MiB at a database that does not answer, by
 * the resident memory of the process: 2.1 bytes, of text in Latin-1 or CJK as of 45,000 values (13 before the body was let
 * go). fetch's copy is a third, and one letter beyond Latin-1 makes all of an otherwise plain text take two bytes a letter.
 */
export const COST = 4;

/** What one request holds. */
export interface Held {
  /** Counts bytes that arrived from a stranger. Throws `body.busy`. */
  take(bytes: number): void;
  /** They are no stranger's any more, and count as what the command costs. Throws `body.busy`. */
  admit(): void;
  release(): void;
}

/** Bytes under a bound, an eighth of which is left to small bodies. */
class Share {
  held = 0;

  constructor(readonly most: number) {}

  isOver(size: number): boolean {
    return this.held > (size > SMALL ? this.most * 7 / 8 : this.most);
  }
}

export class BodyBudget {
  readonly #all: Share;
  readonly #ofStrangers = new Map<string, Share>();

  constructor(most = MOST_BYTES) {
    this.#all = new Share(most);
  }

  /** What is held of all bodies, as it is counted. */
  get held(): number {
    return this.#all.held;
  }

  /** `group` is whom a stranger's bytes are counted with: the strangers of one address group have an eighth of all. */
  open(group: string): Held {
    let size = 0;
    let counted = 0;
    let strange = 0;
    const count = (bytes: number, ofStrangers: number) => {
      counted += bytes;
      strange += ofStrangers;
      this.#all.held += bytes;
      const share = this.#ofStrangers.get(group) ?? new Share(this.#all.most / 8);
      share.held += ofStrangers;
      if (share.held > 0) this.#ofStrangers.set(group, share);
      else this.#ofStrangers.delete(group);
      const isOver = this.#all.isOver(size) || (ofStrangers > 0 && share.isOver(size));
      if (isOver && bytes > 0) {
        throw unavailable("body.busy", "Too many bodies are on their way through this instance.");
      }
    };
    return {
      take(bytes) {
        size += bytes;
        count(bytes, bytes);
      },
      admit: () => count(size * (COST - 1), -strange),
      release: () => count(-counted, -strange),
    };
  }
}

/** How a body is read. */
export interface Reading {
  /** Bytes it may have. */
  most: number;
  /** Told of each chunk; may throw. */
  take(bytes: number): void;
  /** Asked with the size so far. After a no only the size is kept: zeros, which are no JSON, stand for what was let go. */
  keeps?(size: number): boolean;
}

/** Throws `body.too_large` at the first byte too many, and `body.slow`; what `take` throws, too, at each chunk. */
export async function readBody(request: Request, reading: Reading): Promise<Uint8Array> {
  const { most } = reading;
  const told = request.headers.get("Content-Length");
  if (told !== null && Number(told) > most) {
    await request.body?.cancel().catch(() => {});
    throw tooLarge(most);
  }
  if (request.body === null) return new Uint8Array();
  const reader = request.body.getReader();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const slow = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(tooSlow()), BODY_PATIENCE);
  });
  try {
    return await Promise.race([collected(reader, reading), slow]);
  } catch (error) {
    await reader.cancel().catch(() => {});
    throw error instanceof Problem ? error : new Problem(400, "body.broken_off", "The body broke off.");
  } finally {
    clearTimeout(timer);
  }
}

async function collected(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  { most, take, keeps = () => true }: Reading,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  let isKept = true;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > most) throw tooLarge(most);
    take(value.byteLength);
    isKept &&= keeps(size);
    if (isKept) chunks.push(value);
    else chunks.length = 0;
  }
  if (chunks.length === 1) return chunks[0]!;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}

function tooLarge(most: number): Problem {
  return new Problem(413, "body.too_large", `A body here has at most ${most / 1024 / 1024} MiB.`);
}

function tooSlow(): Problem {
  return new Problem(408, "body.slow", `The body took longer than ${BODY_PATIENCE / 1000} s.`);
}
