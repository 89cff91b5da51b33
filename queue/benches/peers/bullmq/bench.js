// The same work with BullMQ, measured as measure/src/lib.rs beside this folder measures the peers in Rust: the same jobs,
// the same clock, the same names, one JSON object a line. Deletes its own keys and no others, so it may be run again at any
// time. Reads REDIS_URL, BENCH_PREFIX, BENCH_JOBS and BENCH_CONCURRENCY; `run` sets them.

import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const version = createRequire(import.meta.url)("bullmq/package.json").version;
const system = `BullMQ ${version}`;
const url = process.env.REDIS_URL;
const prefix = process.env.BENCH_PREFIX ?? "bench-peers";
const jobs = Number(process.env.BENCH_JOBS ?? 100_000);
const concurrency = Number(process.env.BENCH_CONCURRENCY ?? 200);
const pushesAtOnce = Number(process.env.BENCH_PUSHES ?? 1);

const payloadBytes = 140;
const memoryPayloadBytes = 213;
const memoryJobs = 50_000;
const latencySamples = 300;
const chunk = 1_000;
const stalledAfterMs = 20_000;
const longestPickUpMs = 60_000;

if (!url) {
  console.error("REDIS_URL is not set; queue/benches/peers/run sets it");
  process.exit(2);
}

// A worker's connection must wait for ever; the others may.
const connect = () => new Redis(url, { maxRetriesPerRequest: null });
const redis = connect();
// What is done or has failed is not kept: by default it would be, for ever.
const defaultJobOptions = { removeOnComplete: true, removeOnFail: true };
const newQueue = () => new Queue("work", { connection: connect(), prefix, defaultJobOptions });

const print = (line) => console.log(JSON.stringify({ ...line, system }));

function payload(n, bytes) {
  const around = JSON.stringify({ n, pad: "" }).length;
  return { n, pad: "x".repeat(Math.max(0, bytes - around)) };
}

async function clear() {
  for await (const keys of redis.scanStream({ match: `*${prefix}*`, count: 5_000 })) {
    if (keys.length > 0) await redis.unlink(keys);
  }
}

async function memoryUsed() {
  // What was just freed or written is accounted for a moment later.
  await sleep(1_500);
  const info = await redis.info("memory");
  const number = (field) => Number(info.match(new RegExp(`^${field}:(\\d+)`, "m"))[1]);
  // What Redis holds for connections and for its file comes and goes with the pushing.
  return number("used_memory") - number("mem_clients_normal") - number("mem_aof_buffer");
}

async function pushAll(queue, count, bytes) {
  let next = 0;
  async function pushChunks() {
    while (next < count) {
      const from = next;
      next = Math.min(from + chunk, count);
      const size = next - from;
      await queue.addBulk(Array.from({ length: size }, (_, i) => ({ name: "job", data: payload(from + i, bytes) })));
    }
  }
  await Promise.all(Array.from({ length: pushesAtOnce }, pushChunks));
}

/** Starts the one worker. `onStart` is called with each job's number as it starts. */
async function startWorker(onStart, onCompleted = () => {}) {
  const connection = connect();
  const worker = new Worker("work", async (job) => onStart(job.data.n), { connection, prefix, concurrency });
  worker.on("completed", onCompleted);
  worker.on("error", (error) => console.error(`${system}: ${error.message}`));
  return worker;
}

async function memory() {
  const queue = newQueue();
  await queue.add("job", payload(0, memoryPayloadBytes));
  const before = await memoryUsed();
  await pushAll(queue, memoryJobs, memoryPayloadBytes);
  const after = await memoryUsed();
  print({ name: "redis_bytes_per_waiting_job", bytes: Math.floor((after - before) / memoryJobs) });
  await queue.close();
}

async function speed() {
  const queue = newQueue();
  await queue.waitUntilReady();
  let started = performance.now();
  await pushAll(queue, jobs, payloadBytes);
  const perSecond = (ms) => Math.floor((jobs * 1_000) / ms);
  print({ name: "push_bulk", per_s: perSecond(performance.now() - started) });

  const runs = new Uint8Array(jobs);
  let completed = 0;
  let latest = 0;
  started = performance.now();
  latest = started;
  const worker = await startWorker(
    (n) => {
      runs[n] += 1;
    },
    () => {
      completed += 1;
      latest = performance.now();
    },
  );
  while (completed < jobs && performance.now() - latest < stalledAfterMs) await sleep(2);
  const took = latest - started;
  await sleep(500);
  await worker.close();
  const lost = runs.reduce((sum, count) => sum + (count === 0 ? 1 : 0), 0);
  const duplicates = runs.reduce((sum, count) => sum + Math.max(0, count - 1), 0);
  const settings = `concurrency ${concurrency}, addBulk of ${chunk}, ${pushesAtOnce} at once, removeOnComplete`;
  print({ name: "drain", per_s: completed < jobs ? null : perSecond(took), lost, duplicates, settings });
  await queue.close();
}

async function latency() {
  const queue = newQueue();
  let startedAt;
  const worker = await startWorker((n) => startedAt(n, performance.now()));
  await worker.waitUntilReady();
  await sleep(500);
  const samples = [];
  for (let n = 0; n < latencySamples; n += 1) {
    // Uneven pauses, as in Rust.
    await sleep((5_000 + ((n * 7_919) % 10_000)) / 1_000);
    const seen = new Promise((resolve) => {
      startedAt = (number, at) => number === n && resolve(at);
    });
    const pushed = performance.now();
    await queue.add("job", payload(n, payloadBytes));
    const late = sleep(longestPickUpMs, undefined, { ref: false }).then(() => {
      throw new Error(`job ${n} did not start within ${longestPickUpMs / 1_000} s`);
    });
    samples.push(Math.round(((await Promise.race([seen, late])) - pushed) * 1_000));
  }
  await worker.close();
  await queue.close();
  samples.sort((a, b) => a - b);
  const percentile = (percent) => samples[Math.min(Math.floor((samples.length * percent) / 100), samples.length - 1)];
  print({ name: "idle_latency", p50_us: percentile(50), p99_us: percentile(99) });
}

for (const measure of [memory, speed, latency]) {
  await clear();
  await measure();
}
await clear();
process.exit(0);
