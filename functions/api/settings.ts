// The settings of the function; the only reader of the environment. Read at the first request, so that a wrong one is
// answered and logged by its name.

import { type Lifecycle, lifecycleFrom } from "./versions.ts";

export interface Environment {
  get(name: string): string | undefined;
}

export interface Settings {
  supabaseUrl: string;
  /** For the RPCs of schema `worker` alone, and what the worker must show. */
  serviceKey: string;
  /** Lets a principal's calls through the gateway; gives them no rights. */
  anonKey: string;
  jwtKey: string;
  redisUrl: string | undefined;
  /** Exact origins that browsers may call from. */
  corsOrigins: string[];
  lifecycle: Lifecycle;
  /** Requests a minute of a key that has no rate of its own, and of an address. */
  keyRate: number;
  addressRate: number;
  /** How many proxies append to X-Forwarded-For. */
  trustedProxies: number;
}

export class SettingsError extends Error {
  constructor(readonly problems: string[]) {
    super(problems.join("; "));
    this.name = "SettingsError";
  }
}

/** Throws `SettingsError` with everything that is missing or wrong; values are never part of it. */
export function readSettings(environment: Environment): Settings {
  const reader = new Reader(environment);
  const settings: Settings = {
    supabaseUrl: reader.required("SUPABASE_URL", httpUrl, "is no http(s) URL"),
    serviceKey: reader.optional("PMS_SERVICE_KEY", (text) => text, "") ??
      reader.required("SUPABASE_SERVICE_ROLE_KEY"),
    anonKey: reader.required("SUPABASE_ANON_KEY"),
    jwtKey: reader.required("PMS_JWT_KEY"),
    redisUrl: reader.optional("REDIS_URL", redisUrl, "is no redis:// or rediss:// URL"),
    corsOrigins: reader.optional("PMS_CORS_ORIGINS", origins, "is no comma list of origins") ?? [],
    lifecycle: reader.optional("PMS_API_LIFECYCLE", lifecycleFrom, "is not of the documented form") ?? {},
    keyRate: reader.optional("PMS_API_KEY_RATE", rate, RATE) ?? 600,
    addressRate: reader.optional("PMS_API_ADDRESS_RATE", rate, RATE) ?? 1200,
    trustedProxies: reader.optional("PMS_TRUSTED_PROXIES", few, "is no number from 0 to 9") ?? 1,
  };
  if (reader.problems.length > 0) throw new SettingsError(reader.problems);
  return settings;
}

class Reader {
  readonly problems: string[] = [];

  constructor(private readonly environment: Environment) {}

  optional<T>(name: string, parse: (text: string) => T | undefined, rule: string): T | undefined {
    const text = this.environment.get(name)?.trim();
    if (!text) return undefined;
    const value = parse(text);
    if (value === undefined) this.problems.push(`${name} ${rule}`);
    return value;
  }

  /** The text of a missing one is "", which nobody sees: `problems` is not empty then. */
  required(name: string, parse = (text: string): string | undefined => text, rule = ""): string {
    if (!this.environment.get(name)?.trim()) this.problems.push(`${name} is not set`);
    return this.optional(name, parse, rule) ?? "";
  }
}

const RATE = "is no whole number from 1 to 1000000";

function httpUrl(text: string): string | undefined {
  return /^https?:\/\/[^/?#\s]+\/?$/.test(text) ? text.replace(/\/$/, "") : undefined;
}

function redisUrl(text: string): string | undefined {
  return /^rediss?:\/\/\S+$/.test(text) ? text : undefined;
}

function origins(text: string): string[] | undefined {
  const list = text.split(",").map((origin) => origin.trim()).filter((origin) => origin !== "");
  return list.every((origin) => /^https?:\/\/[a-z0-9.-]+(:\d{1,5})?$/.test(origin)) ? list : undefined;
}

function rate(text: string): number | undefined {
  return /^[1-9][0-9]{0,6}$/.test(text) && Number(text) <= 1_000_000 ? Number(text) : undefined;
}

function few(text: string): number | undefined {
  return /^[0-9]$/.test(text) ? Number(text) : undefined;
}
