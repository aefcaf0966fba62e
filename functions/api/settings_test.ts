import assert from "node:assert/strict";

import { readSettings, SettingsError } from "./settings.ts";

const RIGHT: Record<string, string> = {
  SUPABASE_URL: "https://project.supabase.co/",
  SUPABASE_SERVICE_ROLE_KEY: "service",
  SUPABASE_ANON_KEY: "anon",
  PMS_JWT_KEY: "secret",
};

const read = (changes: Record<string, string> = {}) =>
  readSettings({ get: (name) => ({ ...RIGHT, ...changes })[name] });

function problemsOf(changes: Record<string, string>): string[] {
  try {
    read(changes);
  } catch (error) {
    if (error instanceof SettingsError) return error.problems;
    throw error;
  }
  return [];
}

Deno.test("the defaults are the documented ones", () => {
  const settings = read();
  assert.equal(settings.supabaseUrl, "https://project.supabase.co");
  assert.deepEqual([settings.keyRate, settings.addressRate, settings.trustedProxies], [600, 1200, 1]);
  assert.deepEqual([settings.corsOrigins, settings.lifecycle, settings.redisUrl], [[], {}, undefined]);
});

Deno.test("everything that is missing or wrong is named at once, without its value", () => {
  assert.deepEqual(problemsOf({ SUPABASE_URL: "", PMS_JWT_KEY: " ", PMS_TRUSTED_PROXIES: "many" }), [
    "SUPABASE_URL is not set",
    "PMS_JWT_KEY is not set",
    "PMS_TRUSTED_PROXIES is no number from 0 to 9",
  ]);
  const wrong = {
    REDIS_URL: "redis.internal:6379",
    PMS_CORS_ORIGINS: "https://shop.example/path",
    PMS_API_KEY_RATE: "-77",
    PMS_API_ADDRESS_RATE: "1e3",
    PMS_API_LIFECYCLE: '{"v1":{"sunset":"soon"}}',
  };
  for (const [name, value] of Object.entries(wrong)) {
    const problems = problemsOf({ [name]: value });
    assert.equal(problems.length, 1, name);
    assert.ok(problems[0]!.startsWith(name) && !problems[0]!.includes(value), problems[0]);
  }
});

Deno.test("an origin is exact: neither a wildcard nor a path is one", () => {
  assert.deepEqual(read({ PMS_CORS_ORIGINS: "https://a.example, http://localhost:3000" }).corsOrigins, [
    "https://a.example",
    "http://localhost:3000",
  ]);
  for (const odd of ["*", "https://*.example", "null", "a.example"]) {
    assert.equal(problemsOf({ PMS_CORS_ORIGINS: odd }).length, 1, odd);
  }
});
