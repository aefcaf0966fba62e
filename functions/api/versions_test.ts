import assert from "node:assert/strict";

import { lifecycleFrom, targetOf, versionHeaders } from "./versions.ts";

Deno.test("what is signed begins at /pms/ and keeps its encoding", () => {
  const target = targetOf("http://host/api/pms/v1/products?sku=a%2Cb&name=%C3%A4+b");
  assert.deepEqual(target, {
    version: "v1",
    base: "/functions/v1/api/pms/v1",
    path: "/products",
    query: "?sku=a%2Cb&name=%C3%A4+b",
    signed: "/pms/v1/products?sku=a%2Cb&name=%C3%A4+b",
  });
  assert.equal(targetOf("http://host/functions/v1/api/pms/health")?.signed, "/pms/health");
  assert.equal(targetOf("http://host/api/pms/health")?.version, "unversioned");
  assert.equal(targetOf("http://host/api/pms/products?")?.query, "");
});

Deno.test("what is not below /pms/ is nothing", () => {
  for (
    const path of [
      "/",
      "/api",
      "/api/pms",
      "/pms/health",
      "/api/v1/pms/health",
      "/x/api/pms/health",
      "//api/pms/health",
    ]
  ) {
    assert.equal(targetOf(`http://host${path}`), undefined, path);
  }
  assert.equal(
    targetOf("http://host/api/pms/products/../health")?.path,
    "/products/../health",
    "nothing is resolved",
  );
});

Deno.test("the end of a version is announced as RFC 9745 and RFC 8594 have it", () => {
  const lifecycle = lifecycleFrom(
    '{"v1":{"deprecated":"2027-01-01","sunset":"2027-06-30","link":"https://docs.example/v1"},"unversioned":{}}',
  )!;
  assert.deepEqual(versionHeaders("v1", lifecycle), {
    "API-Version": "1",
    Deprecation: "@1798761600",
    Sunset: "Wed, 30 Jun 2027 00:00:00 GMT",
    Link: '<https://docs.example/v1>; rel="sunset"',
  });
  assert.deepEqual(versionHeaders("unversioned", lifecycle), { "API-Version": "1" });
});

Deno.test("a lifecycle of another form is none", () => {
  const odd = [
    "[]",
    "{",
    '{"v9":{}}',
    '{"v1":{"sunset":1}}',
    '{"v1":{"sunset":"2027-13-01"}}',
    '{"v1":{"link":"https://x>; rel=next"}}',
    '{"v1":{"end":"2027-01-01"}}',
    '{"v1":null}',
  ];
  for (const text of odd) assert.equal(lifecycleFrom(text), undefined, text);
});
