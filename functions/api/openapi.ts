// OpenAPI 3.1 of the routes, from the schemas that validate requests and the examples that tests execute.

import { OpenAPIHono, type RouteConfig, z } from "@hono/zod-openapi";

import type { Answered, Operation } from "./operation.ts";
import { TITLES } from "./responses.ts";
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

function answers({ answers, access, method }: Operation): RouteConfig["responses"] {
  return Object.fromEntries(
    Object.entries(answers).map(([status, answer]) => [status, {
      description: answer.description,
      headers: headersOf(answer, access === "key", method === "get", status !== "202"),
      ...(answer.schema && {
        content: { "application/json": { schema: answer.schema, example: answer.example } },
      }),
    }]),
  );
}

const HEADERS: Record<string, string> = {
  "X-Request-Id": "The request's own id, or a new one",
  "X-Seq": "How far this answer is up to date; hand it back as X-Min-Seq",
  "X-Cache": "hit, miss, joined, stale or bypass",
  "RateLimit-Limit": "Requests a minute",
  "RateLimit-Remaining": "How many may come at once",
  "RateLimit-Reset": "Seconds until all of them may",
  ETag: "The version of the row",
  Location: "Where it is read",
};

function headersOf(answer: Answered, signed: boolean, read: boolean, inLog: boolean) {
  const rate = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];
  const names = [
    "X-Request-Id",
    ...(signed ? rate : []),
    ...(signed && inLog ? ["X-Seq"] : []),
    ...(signed && read ? ["X-Cache"] : []),
  ];
  const all = [...names, ...Object.keys(answer.headers ?? {})];
  return Object.fromEntries(all.map((name) => [name, {
    description: HEADERS[name] ?? name,
    schema: { type: "string" as const },
    ...(answer.headers?.[name] && { example: answer.headers[name] }),
  }]));
}

/** Codes that every route of a kind may answer with. */
function usual({ access, method, asks = {} }: Operation): Record<number, string[]> {
  if (access === "public") return { 400: ["request.invalid"], 500: ["internal"] };
  const body: Record<number, string[]> = asks.body === undefined ? {} : {
    415: ["body.type", "body.encoding"],
  };
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
    429: ["rate.limited"],
    500: ["internal"],
    502: ["origin.answer_invalid"],
    503: [
      ...["origin.unavailable", "origin.unreachable", "database.contended", "database.timeout"],
      ...(method === "get" ? ["auth.changed", "seq.busy"] : []),
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
    content: { "application/problem+json": { schema: ProblemBody } },
  }]));
}
