// A place in a tenant's log of changes, as X-Seq and X-Min-Seq carry it: `<epoch>:<seq>`, opaque to callers.

export interface Seq {
  epoch: string;
  seq: number;
}

/** Undefined for a text that is none. */
export function parseSeq(text: string): Seq | undefined {
  const [, epoch, seq] = /^([A-Za-z0-9_-]{1,64}):(0|[1-9][0-9]{0,15})$/.exec(text) ?? [];
  if (epoch === undefined || !Number.isSafeInteger(Number(seq))) return undefined;
  return { epoch, seq: Number(seq) };
}

export function seqText({ epoch, seq }: Seq): string {
  return `${epoch}:${seq}`;
}
