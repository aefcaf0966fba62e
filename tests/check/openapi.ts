// Prints the OpenAPI document that the function serves, for a project that stands for all.

import { find } from "../../functions/api/router.ts";

const operation = find("/openapi.json")!.operations["GET"]!;
const services = { settings: { supabaseUrl: "https://your-project.supabase.co" } };
const sent = { path: {}, query: "", headers: new Headers(), body: new Uint8Array() };
const reply = await operation.run(sent, { services } as never);
console.log(reply.body);
