// Addresses of callers: which one is the caller's, and whether a key's allow-list has it.

/**
 * The address that the last proxy of ours saw: of X-Forwarded-For the entry `proxies` from its end, because what stands
 * before that was written by the caller. Without proxies, or without the header, the connection's own.
 */
export function addressOf(headers: Headers, remote: string | undefined, proxies: number): string {
  const forwarded = forwardedOf(headers);
  const told = proxies === 0 ? undefined : forwarded.at(-Math.min(proxies, forwarded.length));
  const address = withoutPort(told ?? remote ?? "");
  return bytesOf(address) === undefined ? "unknown" : address;
}

/** The entries of X-Forwarded-For, the caller's own first. */
export function forwardedOf(headers: Headers): string[] {
  return (headers.get("X-Forwarded-For") ?? "").split(",").map((part) => part.trim()).filter(Boolean);
}

/** What a limit per address counts: an IPv4 address, or the /64 of an IPv6 one, which belongs to one customer. */
export function addressGroup(address: string): string {
  const bytes = bytesOf(address);
  if (bytes === undefined) return "unknown";
  if (bytes.length === 4) return bytes.join(".");
  const groups = [0, 2, 4, 6].map((at) => ((bytes[at]! << 8) | bytes[at + 1]!).toString(16));
  return `${groups.join(":")}::`;
}

/** Whether one of `cidrs` (`203.0.113.0/24`, `2001:db8::1`) holds the address; one that is none is held by none. */
export function isAllowed(address: string, cidrs: string[]): boolean {
  const bytes = bytesOf(address);
  return bytes !== undefined && cidrs.some((cidr) => holds(cidr, bytes));
}

function holds(cidr: string, address: number[]): boolean {
  const [network = "", bits] = cidr.split("/");
  let base = bytesOf(network);
  if (base === undefined) return false;
  let length = bits === undefined ? base.length * 8 : Number(bits);
  if (base.length === 4 && network.includes(":")) length -= 96; // ::ffff:10.0.0.0/104 is 10.0.0.0/8
  base = base.length === address.length ? base : undefined;
  if (base === undefined || !Number.isInteger(length) || length < 0 || length > address.length * 8) {
    return false;
  }
  return address.every((byte, at) => {
    const kept = Math.max(0, Math.min(8, length - at * 8));
    const mask = (0xff << (8 - kept)) & 0xff;
    return (byte & mask) === (base[at]! & mask);
  });
}

/** 4 or 16 bytes; an IPv4 address in IPv6 clothing (::ffff:1.2.3.4) is the IPv4 one. */
export function bytesOf(address: string): number[] | undefined {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address)?.slice(1).map(Number);
  if (v4 !== undefined) return v4.every((byte) => byte <= 255) ? v4 : undefined;
  const bytes = v6BytesOf(address.split("%")[0]!);
  const mapped = bytes?.slice(0, 12).every((byte, at) => byte === (at < 10 ? 0 : 0xff));
  return mapped ? bytes!.slice(12) : bytes;
}

function v6BytesOf(address: string): number[] | undefined {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const tail = dotted ? bytesOf(dotted[2]!) : [];
  if (tail === undefined) return undefined;
  let text = dotted ? dotted[1]! : address;
  if (dotted && !text.endsWith("::")) text = text.slice(0, -1);
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, rest] = halves.map((half) => half === "" ? [] : half.split(":"));
  const groups = [...head!, ...(rest ?? [])];
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  const missing = 8 - tail.length / 2 - groups.length;
  if (rest === undefined ? missing !== 0 : missing < 1) return undefined;
  const all = [...head!, ...Array(missing).fill("0"), ...(rest ?? [])];
  return [...all.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff]), ...tail];
}

function withoutPort(address: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(address);
  if (bracketed) return bracketed[1]!;
  return /^\d+\.\d+\.\d+\.\d+:\d+$/.test(address) ? address.split(":")[0]! : address;
}
