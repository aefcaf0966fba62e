import assert from "node:assert/strict";

import { defineScript, openRedis, RedisAway } from "./redis.ts";
import { freePort, testWithRedis, until } from "./redis_server.ts";

/** How long a call that is refused at once may take on a busy machine; far below the time-outs. */
const AT_ONCE_MS = 60;

async function refused(call: Promise<unknown>): Promise<number> {
  const started = performance.now();
  await assert.rejects(call, RedisAway);
  return performance.now() - started;
}

testWithRedis("commands, scripts and their errors", async (server) => {
  const redis = openRedis(server.url);
  try {
    assert.equal(await redis.run(["SET", "a", new Uint8Array([104, 105])]), "OK");
    assert.equal(await redis.run(["GET", "a"]), "hi");
    const twice = defineScript("return ARGV[1] .. ARGV[1]");
    assert.equal(await redis.script(twice, [], ["x"]), "xx");
    await redis.run(["SCRIPT", "FLUSH"]);
    assert.equal(await redis.script(twice, [], ["y"]), "yy", "a script that the server forgot is sent again");
    await refused(redis.run(["LPUSH", "a", "1"]));
    assert.equal(redis.away, false, "a wrong command says nothing about the server");
  } finally {
    await redis.close();
  }
});

testWithRedis("a paused server costs one time-out, then nothing, until it goes on", async (server) => {
  const redis = openRedis(server.url, { timeoutMs: 100 });
  try {
    await redis.run(["SET", "a", "1"]);
    server.pause();
    const late = await Promise.all(Array.from({ length: 100 }, () => refused(redis.run(["GET", "a"]))));
    assert.ok(Math.max(...late) < 1_000, `the slowest took ${Math.max(...late)} ms`);
    assert.equal(redis.away, true);
    assert.ok(await refused(redis.run(["GET", "a"])) < AT_ONCE_MS, "the circuit is open");
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    assert.ok(await refused(redis.run(["GET", "a"])) < AT_ONCE_MS, "looking for it is nobody's wait");
    server.resume();
    await until(() => redis.run(["GET", "a"]).then((value) => value === "1", () => false));
  } finally {
    server.resume();
    await redis.close();
  }
});

testWithRedis("a killed server is away at once, and is found again", async (server) => {
  const redis = openRedis(server.url);
  try {
    await redis.run(["SET", "a", "1"]);
    await server.kill();
    await until(() => redis.away);
    assert.ok(await refused(redis.run(["GET", "a"])) < AT_ONCE_MS);
    await server.start();
    await until(() => redis.run(["GET", "a"]).then((value) => value === null, () => false));
  } finally {
    await redis.close();
  }
});

testWithRedis("a loop that was busy itself does not accuse Redis", async (server) => {
  const redis = openRedis(server.url, { timeoutMs: 100 });
  try {
    await redis.run(["PING"]);
    const answer = redis.run(["PING"]);
    const end = performance.now() + 400;
    while (performance.now() < end);
    assert.equal(await answer, "PONG");
  } finally {
    await redis.close();
  }
});

/** Answers every command with PONG, one each 20 ms. */
async function slowServer(listener: Deno.Listener): Promise<void> {
  for await (const connection of listener) {
    const commands = /^\*\d+\r\n/gm;
    let sent = Promise.resolve();
    (async () => {
      for await (const chunk of connection.readable) {
        for (const _ of new TextDecoder().decode(chunk).matchAll(commands)) {
          sent = sent.then(() => new Promise((resolve) => setTimeout(resolve, 20)))
            .then(() => connection.write(new TextEncoder().encode("+PONG\r\n"))).then(() => {}, () => {});
        }
      }
    })().catch(() => {});
  }
}

Deno.test("a queue of our own making does not accuse a Redis that answers", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = slowServer(listener);
  const redis = openRedis(`redis://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`, { timeoutMs: 100 });
  try {
    await until(() => redis.run(["PING"]).then(() => true, () => false));
    const answers = await Promise.all(Array.from({ length: 20 }, () => redis.run(["PING"])));
    assert.ok(answers.every((answer) => answer === "PONG"));
  } finally {
    await redis.close();
    listener.close();
    await serving;
  }
});

Deno.test("a Redis that is not there, or whose address is nonsense, is away and throws nothing else", async () => {
  for (const url of [`redis://127.0.0.1:${freePort()}`, "no address", "redis://127.0.0.1:99999"]) {
    const redis = openRedis(url);
    await refused(redis.run(["PING"]));
    assert.equal(redis.away, true);
    await redis.close();
  }
});
