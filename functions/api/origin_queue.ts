// Calls of the origin under a cap: when Redis is away, all callers come here at once, and what the database
// cannot take must wait in a queue that is bounded in length and in time.

export interface OriginQueueOptions {
  /** Calls of the origin at the same time, of this instance. */
  atOnce?: number;
  mostWaiting?: number;
  longestWaitMs?: number;
}

/** More callers wait for the origin than it could serve in time. */
export class OriginBusy extends Error {
  override name = "OriginBusy";
  readonly retryAfterSeconds = 1;
}

interface Waiting {
  start(): void;
  timer: ReturnType<typeof setTimeout>;
}

export class OriginQueue {
  refused = 0;
  readonly #atOnce: number;
  readonly #mostWaiting: number;
  readonly #longestWaitMs: number;
  readonly #waiting = new Set<Waiting>();
  readonly #patient = new Set<Waiting>();
  #running = 0;

  constructor(options: OriginQueueOptions = {}) {
    this.#atOnce = options.atOnce ?? 32;
    this.#mostWaiting = options.mostWaiting ?? 2_000;
    this.#longestWaitMs = options.longestWaitMs ?? 10_000;
  }

  /** Runs `work` when a place is free; `patient` work gives way to all other. Throws OriginBusy. */
  async run<T>(work: () => Promise<T>, patient = false): Promise<T> {
    if (this.#running >= this.#atOnce) await this.#place(patient ? this.#patient : this.#waiting);
    else this.#running++;
    try {
      return await work();
    } finally {
      this.#handOver();
    }
  }

  #place(queue: Set<Waiting>): Promise<void> {
    if (this.#waiting.size + this.#patient.size >= this.#mostWaiting) return Promise.reject(this.#refusal());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        queue.delete(waiting);
        reject(this.#refusal());
      }, this.#longestWaitMs);
      const waiting: Waiting = { start: resolve, timer };
      queue.add(waiting);
    });
  }

  /** The place goes to the longest waiting: nobody who comes just now overtakes. */
  #handOver(): void {
    for (const queue of [this.#waiting, this.#patient]) {
      for (const next of queue) {
        queue.delete(next);
        clearTimeout(next.timer);
        return next.start();
      }
    }
    this.#running--;
  }

  #refusal(): OriginBusy {
    this.refused++;
    return new OriginBusy("Too many reads wait for the database.");
  }
}
