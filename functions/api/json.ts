// JSON without loss. The database's numerics have more digits than a double holds, so a number that JavaScript would
// write otherwise is carried as its own text (JSON.rawJSON): 19.9000 stays 19.9000, and 12345678901234.5678 itself.

interface RawJson {
  parse(
    text: string,
    revive: (key: string, value: unknown, context: { source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): value is { rawJSON: string };
}

const exact = JSON as unknown as RawJson;

/** Levels of arrays and objects that a document may have: JSON.parse with a reviver, and Postgres, recurse. */
export const MAX_DEPTH = 64;

/** Values that a document may have: reading one exactly takes some 4 µs, and an instance has 2 s of CPU for a request. */
export const MAX_VALUES = 50_000;

/**
 * Digits of a number before its point, and after it, as in the database. More are few bytes as an exponent, and whoever
 * writes them out has a hundred kilobytes of them.
 */
export const MAX_DIGITS = 40;

/** Without its sign, which neither limit minds. */
const NUMBER = /([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?/y;

/** As JSON.parse; numbers that are not written as JavaScript writes them stay as they were written. */
export function parseExactly(text: string): unknown {
  return exact.parse(text, (_key, value, { source }) => {
    if (typeof value !== "number" || source === undefined || String(value) === source) return value;
    return exact.rawJSON(source);
  });
}

/** The digits of a number from `parseExactly`, or the text of a string; undefined for anything else. */
export function textOf(value: unknown): string | undefined {
  if (exact.isRawJSON(value)) return value.rawJSON;
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined;
}

/** What of the limits the JSON `text` breaks; looks outside of strings only. "numbers" where that is all. */
export function limitOf(text: string): "depth" | "values" | "numbers" | undefined {
  let depth = 0;
  let values = 1;
  let areShort = true;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (inString) {
      if (char === 0x5c) at++;
      else if (char === 0x22) inString = false;
    } else if (char === 0x22) inString = true;
    else if (char === 0x5b || char === 0x7b) {
      if (++depth > MAX_DEPTH) return "depth";
      values++;
    } else if (char === 0x5d || char === 0x7d) depth--;
    else if (char === 0x2c) values++;
    else if (char >= 0x30 && char <= 0x39) {
      NUMBER.lastIndex = at;
      areShort = isShort(NUMBER.exec(text)!) && areShort;
      at = NUMBER.lastIndex - 1;
    }
    if (values > MAX_VALUES) return "values";
  }
  return areShort ? undefined : "numbers";
}

/** Whether a number is below 10^40 and has up to 40 decimals. */
function isShort([, whole = "", decimals = "", power = "0"]: RegExpExecArray): boolean {
  const exponent = Number(power);
  if (decimals.length - exponent > MAX_DIGITS) return false;
  const first = (whole + decimals).search(/[1-9]/);
  return first === -1 || whole.length - first + exponent <= MAX_DIGITS;
}

export type Row = Record<string, unknown>;

export function isRow(value: unknown): value is Row {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !exact.isRawJSON(value);
}
