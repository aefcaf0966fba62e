// A real redis-server of a test's own, on a free port of loopback, that can be killed, paused and started again.

const PATIENCE_MS = 10_000;
const EXECUTABLE = Deno.env.get("STACK_REDIS_BIN") ?? "redis-server";

/** Why tests with a real Redis cannot run here; undefined if they can. */
export const WITHOUT_REDIS = await (async () => {
  try {
    await new Deno.Command(EXECUTABLE, { args: ["--version"], stdout: "null", stderr: "null" }).output();
  } catch {
    return "no redis-server is installed";
  }
})();

/** A test that is skipped, with the reason in its name, where no Redis is installed. */
export function testWithRedis(name: string, body: (server: RedisServer) => Promise<void>): void {
  const reason = WITHOUT_REDIS === undefined ? "" : ` (skipped: ${WITHOUT_REDIS})`;
  Deno.test({
    name: name + reason,
    ignore: reason !== "",
    fn: async () => {
      await using server = new RedisServer(freePort());
      await server.start();
      await body(server);
    },
  });
}

export class RedisServer {
  #process: Deno.ChildProcess | undefined;
  constructor(readonly port: number) {}

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Returns when it answers; what it held before is gone. */
  async start(): Promise<void> {
    const settings = ["--port", String(this.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    this.#process = new Deno.Command(EXECUTABLE, {
      args: [...settings, "--maxmemory", "64mb"],
      stdout: "null",
      stderr: "null",
    }).spawn();
    await until(async () => {
      try {
        (await Deno.connect({ hostname: "127.0.0.1", port: this.port })).close();
        return true;
      } catch {
        return false;
      }
    });
  }

  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    process?.kill("SIGKILL");
    await process?.status;
  }

  pause(): void {
    this.#process?.kill("SIGSTOP");
  }

  resume(): void {
    this.#process?.kill("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

export async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!await holds()) {
    if (Date.now() > end) throw new Error(`not so within ${PATIENCE_MS} ms: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}
