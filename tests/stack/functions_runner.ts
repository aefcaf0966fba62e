// Serves several edge functions from one Deno process, each under /<name>/ as the edge runtime does. A function's
// entry point calls Deno.serve once; while it is imported, that call hands over its handler instead of listening.

type Handler = (request: Request, info: Deno.ServeHandlerInfo) => Response | Promise<Response>;

const listen = Deno.serve;

function handlerOf(name: string, args: unknown[]): Handler {
  for (const arg of args) {
    if (typeof arg === "function") return arg as Handler;
    if (typeof arg === "object" && arg !== null && "handler" in arg) return arg.handler as Handler;
    if (typeof arg === "object" && arg !== null && "fetch" in arg) return arg.fetch as Handler;
  }
  throw new TypeError(`${name}: Deno.serve was called without a handler`);
}

async function load(name: string, entrypoint: string): Promise<Handler> {
  let handler: Handler | undefined;
  const capture = (...args: unknown[]) => {
    handler = handlerOf(name, args);
  };
  Object.defineProperty(Deno, "serve", { value: capture, configurable: true, writable: true });
  try {
    await import(entrypoint);
  } finally {
    Object.defineProperty(Deno, "serve", { value: listen, configurable: true, writable: true });
  }
  if (handler === undefined) throw new TypeError(`${name}: ${entrypoint} never called Deno.serve`);
  return handler;
}

const handlers = new Map<string, Handler>();
for (
  const [name, entrypoint] of Object.entries<string>(JSON.parse(Deno.env.get("STACK_FUNCTIONS") ?? "{}"))
) {
  handlers.set(name, await load(name, entrypoint));
}

listen(
  { hostname: "127.0.0.1", port: Number(Deno.env.get("STACK_FUNCTIONS_PORT")), onListen: () => {} },
  async (request, info) => {
    const name = new URL(request.url).pathname.split("/")[1];
    if (name === "_ready") return new Response("ready");
    const handler = handlers.get(name);
    if (handler === undefined) {
      return Response.json({ code: "NOT_FOUND", message: "Requested function was not found" }, {
        status: 404,
      });
    }
    try {
      return await handler(request, info);
    } catch (error) {
      console.error(name, error);
      return Response.json({ code: "WORKER_ERROR", message: "Function exited due to an error" }, {
        status: 500,
      });
    }
  },
);
