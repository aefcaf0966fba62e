// Cursors of lists: the place of the last row in the list's order, signed, so that one that was changed or made up is
// refused here and never reaches the database.

import { Problem } from "./problems.ts";

export interface Cursors {
  /** `scope` is what the cursor is good for: its tenant, its list, its order. */
  write(scope: string, place: [string, string]): Promise<string>;
  /** Throws `cursor.invalid`. */
  read(scope: string, cursor: string): Promise<[string, string]>;
}

const encoder = new TextEncoder();
const MARK_BYTES = 16;

export function makeCursors(secret: string): Cursors {
  const key = crypto.subtle.importKey(
    "raw",
    encoder.encode(`cursors of lists:${secret}`),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  const markOf = async (scope: string, place: Uint8Array) => {
    const head = encoder.encode(`${scope}\n`);
    const text = new Uint8Array(head.length + place.length);
    text.set(head);
    text.set(place, head.length);
    return new Uint8Array(await crypto.subtle.sign("HMAC", await key, text)).slice(0, MARK_BYTES);
  };
  return {
    async write(scope, place) {
      const told = encoder.encode(JSON.stringify(place));
      const mark = await markOf(scope, told);
      return base64url(new Uint8Array([...mark, ...told]));
    },
    async read(scope, cursor) {
      const bytes = unbase64url(cursor);
      if (bytes === undefined || bytes.length <= MARK_BYTES) throw unknownCursor();
      const told = bytes.slice(MARK_BYTES);
      const mark = await markOf(scope, told);
      let differs = 0;
      mark.forEach((byte, at) => differs |= byte ^ bytes[at]!);
      if (differs !== 0) throw unknownCursor();
      return JSON.parse(new TextDecoder().decode(told));
    },
  };
}

function unknownCursor(): Problem {
  return new Problem(400, "cursor.invalid", "after is no cursor that this list gave in this order.", {
    hint: "Hand next back as it was, with the same sort; or begin again without after.",
  });
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Undefined for what `base64url` does not write, spare bits included. */
function unbase64url(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(text) || text.length % 4 === 1) return undefined;
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  return base64url(bytes) === text ? bytes : undefined;
}
