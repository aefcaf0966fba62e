// Versions of the API: /pms/v1/… and /pms/…, which is the newest; and how the end of one is announced.

export type Version = "v1" | "unversioned";

export const NEWEST = "1";

interface Stage {
  /** Dates of RFC 9745 and RFC 8594, in ms. */
  deprecated?: number;
  sunset?: number;
  link?: string;
}

export type Lifecycle = Partial<Record<Version, Stage>>;

export interface Target {
  version: Version;
  /** Where the API begins, for callers: `/functions/v1/api/pms/v1`. */
  base: string;
  /** Within the API: `/products`. */
  path: string;
  /** With its query as sent; "" when there is none, else it begins with "?". */
  query: string;
  /** What callers sign: from /pms/ on, as sent. */
  signed: string;
}

/** What a request's URL names, in the encoding in which it was sent; undefined when it is not below /pms/. */
export function targetOf(url: string): Target | undefined {
  const target = url.slice(url.indexOf("/", url.indexOf("://") + 3));
  const signed = /^(?:\/functions\/v1)?\/api(\/pms\/.*)$/s.exec(target)?.[1];
  if (signed === undefined) return undefined;
  const [, v1, path, query] = /^\/pms(\/v1)?(\/[^?]*)(.*)$/s.exec(signed) ?? [];
  if (path === undefined) return undefined;
  const base = `/functions/v1/api/pms${v1 ?? ""}`;
  return { version: v1 ? "v1" : "unversioned", base, path, query: query === "?" ? "" : query ?? "", signed };
}

/** API-Version, and Deprecation, Sunset and Link of a version whose end is announced. */
export function versionHeaders(version: Version, lifecycle: Lifecycle): Record<string, string> {
  const headers: Record<string, string> = { "API-Version": NEWEST };
  const { deprecated, sunset, link } = lifecycle[version] ?? {};
  if (deprecated !== undefined) headers["Deprecation"] = `@${Math.floor(deprecated / 1000)}`;
  if (sunset !== undefined) headers["Sunset"] = new Date(sunset).toUTCString();
  if (link !== undefined) {
    headers["Link"] = `<${link}>; rel="${sunset === undefined ? "deprecation" : "sunset"}"`;
  }
  return headers;
}

/** Of PMS_API_LIFECYCLE: `{"v1": {"deprecated": "2027-01-01", "sunset": "2027-06-30", "link": "https://…"}}`. */
export function lifecycleFrom(text: string): Lifecycle | undefined {
  let told: unknown;
  try {
    told = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof told !== "object" || told === null || Array.isArray(told)) return undefined;
  const lifecycle: Lifecycle = {};
  for (const [name, value] of Object.entries(told)) {
    const stage = stageFrom(value);
    if ((name !== "v1" && name !== "unversioned") || stage === undefined) return undefined;
    lifecycle[name] = stage;
  }
  return lifecycle;
}

function stageFrom(value: unknown): Stage | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const stage: Stage = {};
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== "string") return undefined;
    if (name === "link") {
      if (!/^https?:\/\/[!-;=?-~]+$/.test(text)) return undefined;
      stage.link = text;
    } else if (name === "deprecated" || name === "sunset") {
      const moment = /^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$/.test(text) ? Date.parse(text) : NaN;
      if (Number.isNaN(moment)) return undefined;
      stage[name] = moment;
    } else return undefined;
  }
  return stage;
}
