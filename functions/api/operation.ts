// What a route is: how it is asked, who may ask, what it answers. The schemas here validate and make the OpenAPI document.

import type { z } from "@hono/zod-openapi";

import type { Principal } from "./auth/authenticate.ts";
import { readAsked, type Sent } from "./input.ts";
import type { Reply } from "./responses.ts";
import type { Services } from "./services.ts";
import type { Target } from "./versions.ts";

export type Method = "get" | "post" | "put" | "delete";

/** Everybody; who signs with an API key; or the project itself, with its service key. */
export type Access = "public" | "key" | "service";

/** A request on its way to a route. */
export interface Call {
  id: string;
  method: string;
  target: Target;
  headers: Headers;
  services: Services;
  /** Of routes whose access is `key`. */
  principal: Principal;
  /** What came of it in the cache, for the log. */
  cache?: string;
  /** Asked by the worker, after an invalidation. */
  warming?: boolean;
}

export interface Asked<P, Q, H, B> {
  path: P;
  query: Q;
  headers: H;
  body: B;
  /** The body with its numbers as they were written; what is handed on to the database. */
  exact: unknown;
}

export interface Answered {
  description: string;
  schema?: z.ZodType;
  example?: unknown;
  headers?: Record<string, string>;
}

type Schema = z.ZodType | undefined;
type Out<S extends Schema> = S extends z.ZodType ? z.output<S> : undefined;

export interface Definition<P extends Schema, Q extends Schema, H extends Schema, B extends Schema> {
  method: Method;
  /** `/products/{id}` */
  path: string;
  access: Access;
  /** Permissions that the key needs; the policies of the database decide all the same. */
  needs?: string[];
  id: string;
  tag: string;
  summary: string;
  description?: string;
  asks?: { path?: P; query?: Q; headers?: H; body?: B };
  examples?: { path?: Record<string, string>; query?: Record<string, string>; body?: unknown };
  bodyBytes?: number;
  answers: Record<number, Answered>;
  /** Codes of refusals, by status, beyond those that every route has. */
  refuses?: Record<number, string[]>;
  answer(asked: Asked<Out<P>, Out<Q>, Out<H>, Out<B>>, call: Call): Promise<Reply>;
}

/** A definition whose types are settled: what the router and the document work with. */
export type Operation = Omit<Definition<Schema, Schema, Schema, Schema>, "answer"> & {
  bodyBytes: number;
  /** Validates and answers; throws a Problem with every failure. */
  run(sent: Sent, call: Call): Promise<Reply>;
};

export const BODY_BYTES = 1024 * 1024;

export function define<
  P extends Schema = undefined,
  Q extends Schema = undefined,
  H extends Schema = undefined,
  B extends Schema = undefined,
>(definition: Definition<P, Q, H, B>): Operation {
  const { answer, ...told } = definition;
  return {
    bodyBytes: BODY_BYTES,
    ...told,
    run: (sent, call) =>
      answer(
        readAsked(sent, definition.asks ?? {}, definition.method === "get") as Asked<
          Out<P>,
          Out<Q>,
          Out<H>,
          Out<B>
        >,
        call,
      ),
  };
}
