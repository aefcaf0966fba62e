// Bodies of requests, counted while they are read: Content-Length is what a caller says.

import { Problem, unavailable } from "./problems.ts";

/** Milliseconds for a whole body. */
export const BODY_PATIENCE = 30_000;

/** Of bodies whose sender is not known yet. An instance has 256 MB. */
const UNKNOWN_BYTES = 64 * 1024 * 1024;

export class BodyBudget {
  #held = 0;

  constructor(readonly most = UNKNOWN_BYTES) {}

  /** What one request holds, until it is released. */
  open(): { take(bytes: number): void; release(): void } {
    let mine = 0;
    return {
      take: (bytes) => {
        mine += bytes;
        this.#held += bytes;
        if (this.#held > this.most) {
          throw unavailable("body.busy", "Too many bodies are on their way to this instance.", 1);
        }
      },
      release: () => {
        this.#held -= mine;
        mine = 0;
      },
    };
  }
}

/** Throws `body.too_large` at the first byte too many, and `body.slow`; what `take` throws, too, at each chunk. */
export async function readBody(
  request: Request,
  most: number,
  take: (bytes: number) => void,
): Promise<Uint8Array> {
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
    return await Promise.race([collected(reader, most, take), slow]);
  } catch (error) {
    await reader.cancel().catch(() => {});
    throw error instanceof Problem ? error : new Problem(400, "body.broken_off", "The body broke off.");
  } finally {
    clearTimeout(timer);
  }
}

async function collected(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  most: number,
  take: (bytes: number) => void,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > most) throw tooLarge(most);
    take(value.byteLength);
    chunks.push(value);
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
