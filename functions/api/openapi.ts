// OpenAPI 3.1 of the routes, from the schemas that validate requests and the examples that tests execute.

import { OpenAPIHono, type RouteConfig, z } from "@hono/zod-openapi";

import type { Operation } from "./operation.ts";
import { TITLES } from "./responses.ts";
import { ALWAYS, OF_REFUSALS, RATE, some } from "./schemas/answer_headers.ts";
import { ProblemBody } from "./schemas/common.ts";
import { NEWEST } from "./versions.ts";

const SIGNING = `Each request carries four headers. What is signed is one line of text:

    v1:{timestamp}:{nonce}:{METHOD}:{path?query}:{sha256 hex of the body}

\`path\` begins at \`/pms/\` (what follows \`/functions/v1/api\`), with its query, both percent-encoded exactly as sent; without a
query there is no \`?\`. A request without a body signs the hash of nothing. The signature is \`v1=\` and the HMAC-SHA256 of that
text in lower-case hex; its key is the secret's own text, \`pms_sk_\` included.`;

const SCHEMES: Record<string, [string, string]> = {
  apiKey: ["X-API-Key", `The key's id, \`key_…\`. ${SIGNING}`],
  timestamp: ["X-Request-Timestamp", "Unix seconds, at most 300 off the time here."],
  nonce: ["X-Request-Nonce", "16 to 64 of `A-Z a-z 0-9 _ -`, used once."],
  signature: ["X-Request-Signature", "`v1=` and 64 hex digits."],
};

const ABOUT =
  `The API of the PMS for machine clients that sign their requests. Errors are problem documents (RFC 9457) whose \`code\`
is stable. Unknown query parameters and unknown fields of bodies are refused. Below \`/pms/…\` without a version stands the newest one.`;

/** `url`: of the project, such as https://project.supabase.co. */
export function makeDocument(operations: Operation[], url: string) {
  const app = new OpenAPIHono();
  const registry = app.openAPIRegistry;
  for (const [name, [header, description]] of Object.entries(SCHEMES)) {
    registry.registerComponent("securitySchemes", name, {
      type: "apiKey",
      in: "header",
      name: header,
      description,
    });
  }
  for (const operation of operations) registry.registerPath(pathOf(operation));
  return app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: { title: "PMS", version: `${NEWEST}.0.0`, description: ABOUT },
    servers: [{ url: `${url}/functions/v1/api`, description: "The edge function" }],
    externalDocs: {
      url: `${url}/rest/v1/`,
      description:
        "PostgREST's OpenAPI, of the tables and functions that the PMS itself uses (it takes an apikey)",
    },
  });
}

function pathOf(operation: Operation): RouteConfig {
  const { asks = {}, examples = {} } = operation;
  const signed = Object.fromEntries(Object.keys(SCHEMES).map((name) => [name, []]));
  return {
    method: operation.method,
    path: `/pms/v${NEWEST}${operation.path}`,
    operationId: operation.id,
    tags: [operation.tag],
    summary: operation.summary,
    description: described(operation),
    security: operation.access === "public" ? [] : [signed],
    request: {
      params: asks.path && withExamples(asks.path, examples.path),
      query: asks.query && withExamples(asks.query, examples.query),
      headers: asks.headers as z.ZodObject | undefined,
      body: asks.body && {
        required: true,
        content: { "application/json": { schema: asks.body, example: examples.body } },
      },
    },
    responses: { ...answers(operation), ...refusals(operation) },
  };
}

function described({ description = "", needs = [] }: Operation): string | undefined {
  const permissions = needs.map((permission) => `\`${permission}\``).join(" and ");
  return `${description} ${permissions && `The key needs ${permissions}.`}`.trim() || undefined;
}

/** The parameters of a schema, each with its example. */
function withExamples(schema: z.ZodType, examples: Record<string, string> = {}): z.ZodObject {
  const object = schema as z.ZodObject;
  const shown = Object.entries(object.shape).map(([name, field]) => {
    const example = examples[name];
    const type = field as z.ZodType;
    return [name, example === undefined ? type : type.openapi({ example: typed(example) })];
  });
  return z.object(Object.fromEntries(shown));
}

function typed(example: string): string | number {
  return /^[1-9][0-9]{0,5}$/.test(example) ? Number(example) : example;
}

function answers(operation: Operation): RouteConfig["responses"] {
  const told = Object.entries(operation.answers).map(([status, answer]) => [status, {
    description: answer.description,
    headers: { ...carried(operation, status === "202"), ...headersOf(answer.headers) },
    ...(answer.schema && {
      content: { "application/json": { schema: answer.schema, example: answer.example } },
    }),
  }]);
  return Object.fromEntries([...told, ...unchanged(operation)]);
}

/** 304, of reads that take If-None-Match and answer with an ETag. */
function unchanged(operation: Operation) {
  const { ETag } = operation.answers[200]?.headers ?? {};
  if (operation.method !== "get" || ETag === undefined) return [];
  const headers = { ...carried(operation, false), ...headersOf({ ETag }) };
  return [["304", { description: "It is as If-None-Match has it; without a body", headers }]];
}

/** Headers of every answer of the operation that is no refusal. An event that was taken is not in the log yet. */
function carried({ access, method }: Operation, taken: boolean) {
  if (access !== "key") return some(ALWAYS);
  const asked = method === "get" ? some(["X-Seq", "X-Cache"]) : taken ? {} : some([], ["X-Seq"]);
  return { ...some([...ALWAYS, ...RATE]), ...asked };
}

function headersOf(examples: Record<string, string> = {}) {
  const told = Object.entries(some(Object.keys(examples)));
  return Object.fromEntries(told.map(([name, header]) => [name, { ...header, example: examples[name] }]));
}

/** Codes that every route of a kind may answer with. */
function usual({ access, method, asks = {} }: Operation): Record<number, string[]> {
  if (access === "public") return { 400: ["request.invalid"], 500: ["internal"] };
  const body: Record<number, string[]> = asks.body === undefined ? {} : {
    415: ["body.type", "body.encoding"],
  };
  const takesKey = "idempotency-key" in ((asks.headers as z.ZodObject | undefined)?.shape ?? {});
  return {
    400: [
      "request.invalid",
      "value.invalid",
      "auth.header_missing",
      "auth.header_invalid",
      "request.method_override",
      ...(asks.body === undefined ? ["body.unexpected"] : ["body.malformed", "body.too_deep"]),
    ],
    401: ["auth.invalid", "auth.clock_skew", "auth.replayed"],
    403: ["access.denied", "auth.address_refused"],
    408: ["body.slow"],
    409: method === "get" ? ["seq.ahead"] : [],
    413: ["body.too_large"],
    ...body,
    422: [
      ...(takesKey ? ["idempotency.key_reused"] : []),
      ...(asks.body === undefined ? [] : ["json.too_deep"]),
      ...(method === "get" ? ["answer.too_large"] : []),
    ],
    429: ["rate.limited"],
    500: ["internal"],
    502: ["origin.answer_invalid"],
    503: [
      ...[
        "origin.unavailable",
        "origin.unreachable",
        "origin.busy",
        "database.contended",
        "database.timeout",
        "auth.changed",
      ],
      ...(method === "get" ? ["seq.busy"] : []),
      ...(asks.body === undefined ? [] : ["body.busy"]),
    ],
    504: ["origin.timeout"],
  };
}

function refusals(operation: Operation): RouteConfig["responses"] {
  const codes: Record<string, string[]> = {};
  for (
    const [status, list] of [...Object.entries(usual(operation)), ...Object.entries(operation.refuses ?? {})]
  ) {
    codes[status] = [...(codes[status] ?? []), ...list];
  }
  const told = Object.entries(codes).filter(([status, list]) =>
    list.length > 0 && !(Number(status) in operation.answers)
  );
  return Object.fromEntries(told.map(([status, list]) => [status, {
    description: `${TITLES[Number(status)]}: ${list.map((code) => `\`${code}\``).join(", ")}`,
    headers: some([...ALWAYS, ...(OF_REFUSALS[status] ?? [])]),
    content: { "application/problem+json": { schema: ProblemBody } },
  }]));
}
