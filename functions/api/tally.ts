// What an instance counted since it began, for the operator's metrics. Postgres is told the sums and keeps the higher ones: a
// call that failed is made good by the next, and one whose answer got lost counts once.

export type Ending = "ok" | "invalid" | "refused" | "limited" | "busy" | "failed";

/** As worker.note_api_use takes it. */
export interface Sums {
  id: string;
  /** Whether this instance has a Redis, and waits for a worker to tell it what changes. */
  cached: boolean;
  counts: Record<string, number>;
}

interface Wiring {
  cached: boolean;
  /** Sums of others that are told along, under names of their own. */
  also: () => Record<string, number>;
  now: () => number;
}

/** Postgres adds up an instance of which it did not hear for two hours, so it may not go on under its name. */
const UNHEARD_MS = 3_600_000;

export class Tally {
  readonly #endings: Record<string, number> = {};
  readonly #wiring: Wiring;
  #id = crypto.randomUUID();
  /** What was told under former names. */
  #before: Record<string, number> = {};
  #heard: Record<string, number> = {};
  #heardAt: number;

  constructor(wiring: Wiring) {
    this.#wiring = wiring;
    this.#heardAt = wiring.now();
  }

  ended(status: number): void {
    const ending = endingOf(status);
    this.#endings[ending] = (this.#endings[ending] ?? 0) + 1;
  }

  /** Undefined while Postgres knows it all. */
  toTell(): Sums | undefined {
    const all: Record<string, number> = { ...this.#wiring.also(), ...this.#endings };
    if (Object.entries(all).every(([name, count]) => count <= (this.#heard[name] ?? 0))) return undefined;
    if (this.#wiring.now() - this.#heardAt > UNHEARD_MS) {
      this.#id = crypto.randomUUID();
      this.#before = this.#heard;
      this.#heardAt = this.#wiring.now();
    }
    const counts = Object.entries(all).map(([name, count]) => [name, count - (this.#before[name] ?? 0)]);
    return { id: this.#id, cached: this.#wiring.cached, counts: Object.fromEntries(counts) };
  }

  /** Postgres has these; answers may come in another order than calls. */
  heard({ id, counts }: Sums): void {
    if (id !== this.#id) return;
    this.#heardAt = this.#wiring.now();
    const heard = { ...this.#heard };
    for (const [name, count] of Object.entries(counts)) {
      heard[name] = Math.max(heard[name] ?? 0, count + (this.#before[name] ?? 0));
    }
    this.#heard = heard;
  }
}

function endingOf(status: number): Ending {
  if (status < 400) return "ok";
  if (status === 401 || status === 403) return "refused";
  if (status === 429) return "limited";
  if (status < 500) return "invalid";
  return status === 503 ? "busy" : "failed";
}
