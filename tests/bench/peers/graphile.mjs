// graphile-worker at its best settings: `graphile.mjs prepare|run`, with its settings as JSON in PEER_SETTINGS.
//
//   prepare   makes its schema and queues `count` jobs, each with an event of its own
//   run       signs, posts, logs the attempt and completes until it is told to stop by SIGTERM
//
// graphile-worker keeps no history: a job that is done is gone. So each job writes a row for its attempt before it completes,
// many jobs in one statement, which is the cheapest way there is.

import { createHmac, randomUUID } from "node:crypto";
import process from "node:process";
import pg from "pg";
import { makeWorkerUtils, run } from "graphile-worker";
import { Agent, request } from "undici";

const settings = JSON.parse(process.env.PEER_SETTINGS);

const ATTEMPTS = `
  create table attempts (
    attempt_id bigint generated always as identity primary key,
    event_id text not null, url text not null, status integer not null, duration_ms numeric not null,
    started_at timestamptz not null, settled_at timestamptz not null default now()
  );
  create index attempts_by_url on attempts (url, attempt_id);
`;
const LOG = `
  insert into attempts (event_id, url, status, duration_ms, started_at)
  select r.event_id, r.url, r.status, r.duration_ms, r.started_at
  from json_to_recordset($1) as r (event_id text, url text, status integer, duration_ms numeric, started_at timestamptz)
`;

// Writes rows, one statement at a time, each with all that came meanwhile; `add` ends when its row is there.
class AttemptLog {
  #waiting = [];
  #writing = false;
  constructor(client) {
    this.client = client;
  }

  add(row) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ row, resolve, reject });
      if (!this.#writing) this.#write();
    });
  }

  async #write() {
    this.#writing = true;
    while (this.#waiting.length) {
      const batch = this.#waiting.splice(0);
      try {
        await this.client.query(LOG, [JSON.stringify(batch.map((each) => each.row))]);
        batch.forEach((each) => each.resolve());
      } catch (error) {
        batch.forEach((each) => each.reject(error));
      }
    }
    this.#writing = false;
  }
}

async function prepare() {
  const utils = await makeWorkerUtils({ connectionString: settings.database });
  await utils.migrate();
  await utils.release();
  const client = new pg.Client({ connectionString: settings.database });
  await client.connect();
  const size = 1000;
  for (let n = 0; n < settings.count; n += size) {
    const jobs = Array.from({ length: Math.min(size, settings.count - n) }, (_, k) => ({
      identifier: "deliver",
      payload: {
        id: `evt_${randomUUID().replaceAll("-", "")}`,
        url: settings.urls[(n + k) % settings.urls.length],
        body: settings.body,
      },
    }));
    await client.query(
      "select graphile_worker.add_jobs(array(select json_populate_recordset(null::graphile_worker.job_spec, $1::json)))",
      [JSON.stringify(jobs)],
    );
  }
  await client.query(ATTEMPTS);
  await client.query("vacuum analyze");
  await client.query("checkpoint");
  await client.end();
}

async function work() {
  const key = Buffer.from(settings.secret.slice("whsec_".length), "base64");
  const dispatcher = new Agent({ connections: settings.connections, pipelining: 1, keepAliveTimeout: 60_000 });
  const client = new pg.Client({ connectionString: settings.database });
  await client.connect();
  const log = new AttemptLog(client);
  const deliver = async ({ id, url, body }) => {
    const started = Date.now();
    const timestamp = Math.floor(started / 1000).toString();
    const signature = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
    const response = await request(url, {
      method: "POST",
      dispatcher,
      headers: {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": `v1,${signature}`,
      },
      body,
    });
    await response.body.dump();
    if (response.statusCode !== 204) throw new Error(`the receiver answered ${response.statusCode}`);
    await log.add({
      event_id: id,
      url,
      status: response.statusCode,
      duration_ms: Date.now() - started,
      started_at: new Date(started).toISOString(),
    });
  };
  await run({
    preset: {
      worker: {
        connectionString: settings.database,
        maxPoolSize: 10,
        concurrentJobs: settings.concurrency,
        localQueue: { size: settings.localQueue },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
    taskList: { deliver },
  });
}

await (process.argv[2] === "prepare" ? prepare() : work());
