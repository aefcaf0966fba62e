import { makeHandler } from "./handler.ts";
import { dependencies } from "./dependencies.ts";

Deno.serve(makeHandler(dependencies));
