// The document of the API, made of the schemas that validate.

import { define, type Operation } from "../operation.ts";
import { makeDocument } from "../openapi.ts";

export function openApi(described: Operation[]): Operation {
  let text: string | undefined;
  return define({
    method: "get",
    path: "/openapi.json",
    access: "public",
    id: "openapi",
    tag: "Service",
    summary: "This document",
    answers: { 200: { description: "OpenAPI 3.1" } },
    answer(_asked, { services }) {
      text ??= JSON.stringify(makeDocument(described, services.settings.supabaseUrl));
      return Promise.resolve({ status: 200, headers: {}, body: text });
    },
  });
}
