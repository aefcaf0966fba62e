// One line of JSON per request. No header, query or body is ever part of it: they hold secrets, signatures and customers.

export interface RequestLine {
  request_id: string;
  method: string;
  path: string;
  status: number;
  milliseconds: number;
  address?: string;
  /** How many addresses X-Forwarded-For named: what PMS_TRUSTED_PROXIES is set by. */
  forwarded?: number;
  api_key_id?: string;
  tenant_id?: string;
  code?: string;
  cache?: string;
}

export type Log = (event: string, fields: Record<string, unknown>) => void;

/** Values are cut at 500 characters; JSON keeps line breaks of callers from starting lines of their own. */
export const logToConsole: Log = (event, fields) => {
  const cut = (_key: string, value: unknown) => typeof value === "string" ? value.slice(0, 500) : value;
  console.log(JSON.stringify({ event, ...fields }, cut));
};

/** An error as text for the log: its kind and message, never its properties, which may hold a request. */
export function told(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
