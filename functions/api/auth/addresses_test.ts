import assert from "node:assert/strict";

import { addressGroup, addressOf, isAllowed } from "./addresses.ts";

const from = (forwarded: string | null, proxies: number, remote?: string) =>
  addressOf(new Headers(forwarded === null ? {} : { "X-Forwarded-For": forwarded }), remote, proxies);

Deno.test("the caller is whom the last proxy of ours saw, not what a caller wrote", () => {
  assert.equal(from("6.6.6.6, 203.0.113.9", 1), "203.0.113.9");
  assert.equal(from("6.6.6.6, 203.0.113.9, 10.0.0.1", 2), "203.0.113.9");
  assert.equal(from("203.0.113.9", 2), "203.0.113.9", "fewer than there are proxies");
  assert.equal(from("6.6.6.6", 0, "192.0.2.1"), "192.0.2.1");
  assert.equal(from(null, 1, "192.0.2.1"), "192.0.2.1");
  assert.equal(from("[2001:db8::1]:443", 1), "2001:db8::1");
  assert.equal(from("203.0.113.9:1234", 1), "203.0.113.9");
  for (const odd of ["evil", "1.2.3.4.5", "999.1.1.1", ":::1", "12345::"]) {
    assert.equal(from(odd, 1), "unknown", odd);
  }
});

Deno.test("an address is allowed by the networks that hold it", () => {
  const cases: [string, string, boolean][] = [
    ["203.0.113.9", "203.0.113.0/24", true],
    ["203.0.114.9", "203.0.113.0/24", false],
    ["203.0.113.9", "203.0.113.9/32", true],
    ["203.0.113.9", "203.0.113.9", true],
    ["203.0.113.127", "203.0.113.0/25", true],
    ["203.0.113.128", "203.0.113.0/25", false],
    ["203.0.113.9", "0.0.0.0/0", true],
    ["::ffff:203.0.113.9", "203.0.113.0/24", true],
    ["203.0.113.9", "::ffff:203.0.113.0/120", true],
    ["2001:db8::1", "2001:db8::/32", true],
    ["2001:db9::1", "2001:db8::/32", false],
    ["2001:0DB8:0:0:0:0:0:1", "2001:db8::1", true],
    ["2001:db8::1", "0.0.0.0/0", false],
    ["203.0.113.9", "::/0", false],
    ["unknown", "0.0.0.0/0", false],
    ["203.0.113.9", "nonsense", false],
    ["203.0.113.9", "203.0.113.0/33", false],
  ];
  for (const [address, cidr, allowed] of cases) {
    assert.equal(isAllowed(address, [cidr]), allowed, `${address} in ${cidr}`);
  }
  assert.equal(isAllowed("203.0.113.9", []), false);
});

Deno.test("whoever has a /64 counts as one", () => {
  assert.equal(addressGroup("2001:db8:1:2:3::1"), addressGroup("2001:db8:1:2:ffff::9"));
  assert.notEqual(addressGroup("2001:db8:1:2::1"), addressGroup("2001:db8:1:3::1"));
  assert.equal(addressGroup("::ffff:203.0.113.9"), "203.0.113.9");
});
