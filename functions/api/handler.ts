// The edge adapter, deployed as the function `api`: its paths read /functions/v1/api/pms/…. A request passes, in this order:
// its route, method and size; who it is from (auth/); what it may; what it asks (input.ts); and the route.

import { addressGroup, addressOf, forwardedOf } from "./auth/addresses.ts";
import { admitAddress, authenticate, presented, type Principal } from "./auth/authenticate.ts";
import type { Keys } from "./auth/keys.ts";
import { type Held, readBody, SMALL } from "./bodies.ts";
import type { Sent } from "./input.ts";
import { OriginBusy } from "./origin_queue.ts";
import { type RequestLine, told } from "./log.ts";
import type { Call, Operation } from "./operation.ts";
import { Problem, unavailable } from "./problems.ts";
import { refuseOverrides, requestIdOf } from "./requests.ts";
import { corsHeaders, optionsReply, problemReply, type Reply, respond } from "./responses.ts";
import { find, methodsOf } from "./router.ts";
import { requireService } from "./routes/warm.ts";
import { type Dependencies, makeServices, type Services } from "./services.ts";
import { SettingsError } from "./settings.ts";
import { type Target, targetOf, versionHeaders } from "./versions.ts";

export type Handler = (request: Request, info?: { remoteAddr?: unknown }) => Promise<Response>;

export function makeHandler(deps: Dependencies): Handler {
  let made: Promise<Services> | undefined;
  return async (request, info) => {
    const started = deps.now();
    const id = requestIdOf(request.headers);
    const line: RequestLine = {
      request_id: id,
      method: request.method,
      path: "",
      status: 0,
      milliseconds: 0,
    };
    let common: Record<string, string> = { "X-Request-Id": id, Vary: "Origin" };
    let reply: Reply;
    try {
      const services = await (made ??= makeServices(deps));
      const target = targetOf(request.url);
      line.path = target?.signed.split("?")[0] ?? new URL(request.url).pathname;
      line.forwarded = forwardedOf(request.headers).length;
      line.address = addressOf(request.headers, remoteOf(info), services.settings.trustedProxies);
      common = { ...common, ...corsHeaders(request.headers.get("Origin"), services.settings.corsOrigins) };
      if (target !== undefined) {
        common = { ...common, ...versionHeaders(target.version, services.settings.lifecycle) };
      }
      reply = await answer(request, target, services, common, line);
    } catch (error) {
      if (error instanceof SettingsError) made = undefined;
      const problem = problemFor(error);
      line.code = problem.code;
      if (problem.status >= 500) deps.log("request.failed", { request_id: id, error: told(error) });
      reply = problemReply(problem, id);
    }
    deps.log("request.done", { ...line, status: reply.status, milliseconds: deps.now() - started });
    return respond(reply, request.method, common);
  };
}

async function answer(
  request: Request,
  target: Target | undefined,
  services: Services,
  common: Record<string, string>,
  line: RequestLine,
): Promise<Reply> {
  const found = target && find(target.path);
  if (target === undefined || found === undefined) {
    throw new Problem(404, "route.not_found", "There is nothing here.");
  }
  const { method, headers } = request;
  const methods = methodsOf(found);
  if (method === "OPTIONS") return optionsReply(headers, methods, services.settings.corsOrigins);
  const operation = found.operations[method === "HEAD" ? "GET" : method];
  if (operation === undefined) {
    throw new Problem(405, "route.method", `This takes ${methods.join(", ")}.`, {
      headers: { Allow: [...methods, "OPTIONS"].join(", ") },
    });
  }
  refuseOverrides(headers);
  const call = { id: line.request_id, method, target, headers, services } as Call;
  const sent: Sent = { path: found.path, query: target.query, headers, body: new Uint8Array() };
  const group = addressGroup(line.address!);
  const held = services.bodies.open(group);
  const run = async () => {
    await enter(operation, request, call, { sent, held, group, common, line });
    return await operation.run(sent, call);
  };
  try {
    const reply = operation.access === "key" ? await counted(run, services) : await run();
    if (call.cache !== undefined) line.cache = call.cache;
    return reply;
  } finally {
    held.release();
  }
}

interface Entering {
  /** Gets the body: once it was read as JSON nobody else holds it. */
  sent: Sent;
  held: Held;
  /** Of its address: whom limits count a stranger with. */
  group: string;
  common: Record<string, string>;
  line: RequestLine;
}

async function counted(run: () => Promise<Reply>, { gate }: Services): Promise<Reply> {
  try {
    const reply = await run();
    gate.usage.noteEnd(reply.status);
    return reply;
  } catch (error) {
    gate.usage.noteEnd(problemFor(error).status);
    throw error;
  }
}

/** Reads the body and lets in who may; what is known of the caller goes to the call, the log and the answer's headers. */
async function enter(
  operation: Operation,
  request: Request,
  call: Call,
  { sent, held, group, common, line }: Entering,
): Promise<void> {
  const { services, headers } = call;
  const { gate, settings } = services;
  const { take } = held;
  const most = operation.bodyBytes;
  if (operation.access === "service") requireService(headers, settings.serviceKey);
  if (operation.access !== "key") {
    sent.body = await readBody(request, { most, take });
    return;
  }
  await admitAddress(group, settings.addressRate, gate.admission);
  // nobody's megabytes are waited for whose headers could not be right
  const credentials = presented(headers, gate.now());
  const body = await readBody(request, { most, take, keeps: whileThereIs(credentials.apiKeyId, gate.keys) });
  const { method } = request;
  const signed = { method, target: call.target.signed, credentials, body, address: line.address! };
  const { principal, rateHeaders } = await authenticate(signed, gate);
  Object.assign(common, rateHeaders);
  call.principal = principal;
  line.api_key_id = principal.apiKeyId;
  line.tenant_id = principal.tenantId;
  requirePermissions(principal, operation.needs);
  held.admit();
  sent.body = body;
}

/**
 * False once a body is large and its key turned out not to exist. It is read on, at the same price to its sender and under
 * the same bounds, and refused at its end like one that is wrongly signed: an earlier end, or a lower count, would tell which
 * keys exist. Nobody waits for the answer, and `look` asks the database for every key alike, so time does not tell it either.
 */
function whileThereIs(apiKeyId: string, keys: Keys): (size: number) => boolean {
  let asked = false;
  let isThere = true;
  return (size) => {
    if (size > SMALL && !asked) {
      asked = true;
      keys.look(apiKeyId).then((record) => isThere = record !== undefined, () => {});
    }
    return isThere;
  };
}

function requirePermissions({ permissions }: Principal, needs: string[] = []): void {
  const lacking = needs.filter((permission) => !permissions.includes(permission));
  if (lacking.length > 0) {
    throw new Problem(403, "access.denied", `The key lacks the permission ${lacking.join(", ")}.`);
  }
}

function problemFor(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof OriginBusy) {
    return unavailable(
      "origin.busy",
      "Too many calls, or too many of this tenant, wait for the database.",
      error.retryAfterSeconds,
    );
  }
  // names of settings, never values: whoever deploys sees at once what is missing
  if (error instanceof SettingsError) return new Problem(500, "settings.invalid", `${error.message}.`);
  return new Problem(500, "internal", "The request failed; it is safe to try a read again.");
}

function remoteOf(info: { remoteAddr?: unknown } | undefined): string | undefined {
  const address = info?.remoteAddr as { hostname?: unknown } | undefined;
  return typeof address?.hostname === "string" ? address.hostname : undefined;
}
