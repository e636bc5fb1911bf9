// cluster_load.js - ioredis Cluster or node-redis createCluster under steady load, as an application
// uses them: made once, with the libraries' own defaults, never made again.
//
//     node cluster_load.js ioredis|redis PORT,PORT,... WORKERS
//
// Each worker sets its key to rising numbers and reads it back. What a call rejects with is counted
// and the worker goes on. A line "running" on standard output once all workers have been answered;
// then lines of JSON that say up to when all have been (answered_ms, of the clock), until standard
// input ends; then a last one with what was acknowledged, and what went wrong.
'use strict';

const [library, portList, workerText] = process.argv.slice(2);
const ports = portList.split(',').map(Number);
const workers = Number(workerText);
const PAUSE_MS = 2, REPORT_MS = 100;

async function openIoredis() {
  const { Cluster } = require('ioredis');
  const client = new Cluster(ports.map((port) => ({ host: '127.0.0.1', port })));
  client.on('error', () => {});
  return {
    set: (key, value) => client.set(key, value),
    get: (key) => client.get(key),
    mget: (...keys) => client.mget(...keys),
    nodes: () => client.nodes('master').length,
    close: () => client.disconnect(),
  };
}

async function openNodeRedis() {
  const { createCluster } = require('redis');
  const client = createCluster({ rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })) });
  client.on('error', () => {});
  await client.connect();
  return {
    set: (key, value) => client.set(key, value),
    get: (key) => client.get(key),
    mget: (...keys) => client.mGet(keys),
    nodes: () => client.masters.length,
    close: () => client.destroy ? client.destroy() : client.disconnect(),
  };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const result = { acknowledged: {}, operations: 0, errors: {}, wrong: [], longest_ms: 0 };
const answered = new Array(workers).fill(0);
let stopping = false;

function note(error) {
  const text = String(error && error.message ? error.message : error).slice(0, 80);
  result.errors[text] = (result.errors[text] || 0) + 1;
}

async function work(client, index, onFirst) {
  const key = `${library}:${index}`;
  let sure = 0; // the highest number that is known to be there
  for (let number = 1; !stopping; number++) {
    const started = Date.now();
    try {
      if ((await client.set(key, String(number))) !== 'OK') result.wrong.push(`SET ${key}`);
      sure = number;
      const read = Number(await client.get(key));
      if (read !== number) result.wrong.push(`${key} is ${read}, not ${number}`);
      result.operations += 2;
      answered[index] = Date.now();
      if (number === 1) onFirst();
    } catch (error) {
      note(error);
    }
    result.longest_ms = Math.max(result.longest_ms, Date.now() - started);
    result.acknowledged[key] = sure;
    await pause(PAUSE_MS);
  }
}

async function main() {
  const client = await (library === 'ioredis' ? openIoredis() : openNodeRedis());
  let first = 0;
  const all = [];
  await client.set('pair', 'v');
  result.mget = (await client.mget('{pair}', 'pair')).map(String); // two keys of one slot
  process.stdin.resume();
  process.stdin.on('end', () => { stopping = true; });
  for (let i = 0; i < workers; i++) {
    all.push(work(client, i, () => {
      if (++first !== workers) return;
      console.log('running');
      setInterval(() => console.log(JSON.stringify({ answered_ms: Math.min(...answered) })), REPORT_MS);
    }));
  }
  await Promise.all(all);
  result.nodes = client.nodes();
  console.log(JSON.stringify(result));
  client.close();
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
