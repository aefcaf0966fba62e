// graphile-worker at its best settings: `graphile.mjs prepare|run`, with its settings as JSON in PEER_SETTINGS.
//
//   prepare   makes its schema and queues `count` jobs, each with an event of its own
//   run       signs, posts and completes until it is told to stop by SIGTERM

import { createHmac, randomUUID } from "node:crypto";
import process from "node:process";
import pg from "pg";
import { makeWorkerUtils, run } from "graphile-worker";
import { Agent, request } from "undici";

const settings = JSON.parse(process.env.PEER_SETTINGS);

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
  await client.query("analyze");
  await client.end();
}

async function work() {
  const key = Buffer.from(settings.secret.slice("whsec_".length), "base64");
  const dispatcher = new Agent({ connections: settings.connections, pipelining: 1, keepAliveTimeout: 60_000 });
  const deliver = async ({ id, url, body }) => {
    const timestamp = Math.floor(Date.now() / 1000).toString();
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
