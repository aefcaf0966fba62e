// Names that a JSON object has twice. JSON.parse keeps the last one, other parsers the first: who sends two does not know
// which will count.

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The first name, as it is written, that an object of `text` has twice. `text` is JSON that JSON.parse takes. */
export function repeatedNameIn(text: string): string | undefined {
  /** The names of each object around this place; undefined for an array. */
  const around: (Set<string> | undefined)[] = [];
  let isName = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === "{") {
      around.push(new Set());
      isName = true;
    } else if (char === "[") around.push(undefined);
    else if (char === "}" || char === "]") around.pop();
    else if (char === ",") isName = around.at(-1) !== undefined;
    else if (char === '"') {
      const end = endOfString(text, at);
      if (isName) {
        const names = around.at(-1)!;
        const written = text.slice(at, end + 1);
        // "\u0061" is "a" too
        const name = written.includes("\\") ? JSON.parse(written) as string : written.slice(1, -1);
        if (names.has(name)) return written;
        names.add(name);
        isName = false;
      }
      at = end;
    }
  }
  return undefined;
}

function endOfString(text: string, begin: number): number {
  for (let at = begin + 1;; at++) {
    const char = text.charCodeAt(at);
    if (char === BACKSLASH) at++;
    else if (char === QUOTE) return at;
  }
}
