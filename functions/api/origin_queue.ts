// Calls of the origin under a cap: when Redis is away, all callers come here at once, and what the database
// cannot take must wait in a queue that is bounded in length and in time. No tenant has more than a quarter of it: one
// whose calls take a minute each leaves the others their places.

export interface OriginQueueOptions {
  /** Calls of the origin at the same time, of this instance. */
  atOnce?: number;
  mostWaiting?: number;
  longestWaitMs?: number;
}

/** Whose a call is. */
export interface Whose {
  /** Absent where nobody knows yet: then only the cap for all holds. */
  tenant?: string;
  /** Gives way to all other work. */
  patient?: boolean;
}

/** More callers wait for the origin than it could serve in time. */
export class OriginBusy extends Error {
  override name = "OriginBusy";
  readonly retryAfterSeconds = 1;
}

/** Places, of which one tenant takes a quarter at most. */
class Places {
  #taken = 0;
  readonly #share: number;
  readonly #ofTenants = new Map<string, number>();

  constructor(readonly most: number) {
    this.#share = Math.ceil(most / 4);
  }

  /** Whether there was one. */
  take(tenant: string | undefined): boolean {
    if (this.#taken >= this.most) return false;
    if (tenant !== undefined) {
      const own = this.#ofTenants.get(tenant) ?? 0;
      if (own >= this.#share) return false;
      this.#ofTenants.set(tenant, own + 1);
    }
    this.#taken++;
    return true;
  }

  give(tenant: string | undefined): void {
    this.#taken--;
    if (tenant === undefined) return;
    const left = this.#ofTenants.get(tenant)! - 1;
    if (left > 0) this.#ofTenants.set(tenant, left);
    else this.#ofTenants.delete(tenant);
  }
}

interface Waiting {
  tenant: string | undefined;
  start(): void;
}

export class OriginQueue {
  refused = 0;
  readonly #running: Places;
  readonly #seats: Places;
  readonly #longestWaitMs: number;
  readonly #waiting = new Set<Waiting>();
  readonly #patient = new Set<Waiting>();

  constructor(options: OriginQueueOptions = {}) {
    this.#running = new Places(options.atOnce ?? 32);
    this.#seats = new Places(options.mostWaiting ?? 2_000);
    this.#longestWaitMs = options.longestWaitMs ?? 10_000;
  }

  /** Runs `work` when a place is free. Throws OriginBusy. */
  async run<T>(work: () => Promise<T>, { tenant, patient = false }: Whose = {}): Promise<T> {
    if (!this.#running.take(tenant)) await this.#wait(tenant, patient ? this.#patient : this.#waiting);
    try {
      return await work();
    } finally {
      this.#running.give(tenant);
      this.#startNext();
    }
  }

  #wait(tenant: string | undefined, queue: Set<Waiting>): Promise<void> {
    if (!this.#seats.take(tenant)) return Promise.reject(this.#refusal());
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        queue.delete(waiting);
        this.#seats.give(tenant);
      };
      const waiting: Waiting = {
        tenant,
        start: () => {
          leave();
          resolve();
        },
      };
      const timer = setTimeout(() => {
        leave();
        reject(this.#refusal());
      }, this.#longestWaitMs);
      queue.add(waiting);
    });
  }

  /** The place goes to whoever waits longest and may have it: nobody who comes just now overtakes. */
  #startNext(): void {
    for (const queue of [this.#waiting, this.#patient]) {
      for (const next of queue) {
        if (this.#running.take(next.tenant)) return next.start();
      }
    }
  }

  #refusal(): OriginBusy {
    this.refused++;
    return new OriginBusy("Too many calls wait for the database.");
  }
}
