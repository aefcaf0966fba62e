// Headers of answers, as the document tells them: what each must look like, and which are always there.

type Header = {
  description: string;
  schema: { type: "string" | "integer"; pattern?: string; enum?: string[]; minimum?: number };
};

const count: Header["schema"] = { type: "integer", minimum: 0 };

const HEADERS: Record<string, Header> = {
  "X-Request-Id": {
    description: "The request's own id, or a new one",
    schema: { type: "string", pattern: "^[A-Za-z0-9_.-]{1,64}$" },
  },
  "API-Version": {
    description: "Which version of the API answered",
    schema: { type: "string", pattern: "^[0-9]+$" },
  },
  "X-Seq": {
    description: "How far this answer is up to date; hand it back as X-Min-Seq",
    schema: { type: "string", pattern: "^[A-Za-z0-9_-]{1,64}:(0|[1-9][0-9]{0,15})$" },
  },
  "X-Cache": {
    description: "Where the answer is from; `bypass` is the database, past the cache",
    schema: { type: "string", enum: ["hit", "miss", "joined", "stale", "bypass"] },
  },
  "RateLimit-Limit": { description: "Requests a minute", schema: count },
  "RateLimit-Remaining": { description: "How many may come at once", schema: count },
  "RateLimit-Reset": { description: "Seconds until all of them may come at once again", schema: count },
  "Retry-After": {
    description: "Seconds after which another try makes sense",
    schema: { type: "integer", minimum: 1 },
  },
  "WWW-Authenticate": { description: "The scheme of the signatures", schema: { type: "string" } },
  ETag: {
    description: "The version of the row",
    schema: { type: "string", pattern: '^"(0|[1-9][0-9]*)"$' },
  },
  Location: { description: "Where it is read", schema: { type: "string", pattern: "^/functions/v1/api/" } },
};

export const ALWAYS = ["X-Request-Id", "API-Version"];
export const RATE = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];

/** What refusals carry besides, by status. */
export const OF_REFUSALS: Record<string, string[]> = {
  401: ["WWW-Authenticate"],
  429: [...RATE, "Retry-After"],
  503: ["Retry-After"],
};

/** The named headers, the first always there, the others where they are known. */
export function some(always: string[], known: string[] = []) {
  const told = (name: string, required: boolean) => [name, { ...HEADERS[name]!, required }];
  return Object.fromEntries([
    ...always.map((name) => told(name, true)),
    ...known.map((name) => told(name, false)),
  ]) as Record<string, Header & { required: boolean }>;
}
