// Bodies of requests, counted while they are read: Content-Length is what a caller says.

import { Problem } from "./problems.ts";

/** Milliseconds for a whole body. */
export const BODY_PATIENCE = 30_000;

/** Throws `body.too_large` at the first byte too many, and `body.slow`. */
export async function readBody(request: Request, most: number): Promise<Uint8Array> {
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
    return await Promise.race([collected(reader, most), slow]);
  } catch (error) {
    await reader.cancel().catch(() => {});
    throw error instanceof Problem ? error : new Problem(400, "body.broken_off", "The body broke off.");
  } finally {
    clearTimeout(timer);
  }
}

async function collected(reader: ReadableStreamDefaultReader<Uint8Array>, most: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > most) throw tooLarge(most);
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
