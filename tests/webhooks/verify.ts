// What receivers in JavaScript make of signed messages: reads a JSON array of {kind, key, body, headers} from standard
// input, where `kind` is "standardwebhooks" (its `key` a whsec_ secret) or "webcrypto" (the base64 of an Ed25519 public
// key), and prints a JSON array: "accepted", or the error of the refusal.
import { Webhook } from "npm:standardwebhooks@1.0.0";

type Message = {
  kind: "standardwebhooks" | "webcrypto";
  key: string;
  body: string;
  headers: Record<string, string>;
};

const bytes = (base64: string) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

// By the text of the specification, as a receiver without a library writes it.
async function verifyAsymmetric({ key, body, headers }: Message): Promise<void> {
  const age = Date.now() / 1000 - Number(headers["webhook-timestamp"]);
  if (!(Math.abs(age) <= 300)) throw new Error("Message timestamp too old or too new");
  const publicKey = await crypto.subtle.importKey("raw", bytes(key), "Ed25519", false, ["verify"]);
  const content = new TextEncoder().encode(
    `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`,
  );
  for (const signature of headers["webhook-signature"].split(" ")) {
    const [version, base64] = signature.split(",");
    if (version === "v1a" && await crypto.subtle.verify("Ed25519", publicKey, bytes(base64), content)) return;
  }
  throw new Error("No matching signature found");
}

async function verify(message: Message): Promise<string> {
  try {
    if (message.kind === "webcrypto") await verifyAsymmetric(message);
    else new Webhook(message.key).verify(message.body, message.headers);
    return "accepted";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const messages: Message[] = await new Response(Deno.stdin.readable).json();
console.log(JSON.stringify(await Promise.all(messages.map(verify))));
