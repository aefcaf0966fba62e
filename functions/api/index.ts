import { dependenciesFrom, makeHandler } from "./handler.ts";

Deno.serve(makeHandler(dependenciesFrom(Deno.env)));
