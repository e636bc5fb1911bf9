// transactions.js - MULTI, WATCH and commands of many keys with ioredis or node-redis, as an application uses them.
//
//     node transactions.js ioredis|redis PORT,PORT [CLUSTER-PORT,CLUSTER-PORT]
//
// Two clients, of two nodes (or twice of one), whose database is empty; with the third argument also a cluster
// client and keys of one tag. Says "all good", or what was not and ends with 1.
'use strict';

const assert = require('assert');
const [library, portList, clusterList] = process.argv.slice(2);
const ports = portList.split(',').map(Number);
const KEYS = ['k0', 'k1', 'k2', 'k3', 'k4'];

async function withIoredis() {
  const { Redis, Cluster } = require('ioredis');
  const [one, other] = [ports[0], ports[1]].map((port) => new Redis({ host: '127.0.0.1', port }));
  const executed = await one.multi().set('k0', 1).incr('k1').mget('k0', 'k1', 'k9').exec();
  assert.deepStrictEqual(executed, [[null, 'OK'], [null, 1], [null, ['1', '1', null]]]);
  assert.deepStrictEqual(await other.mget('k0', 'k1'), ['1', '1']);
  const failed = await one.multi().set('k2', 'x').incr('k2').set('k3', 'y').exec();
  assert.match(failed[1][0].message, /not an integer/);
  assert.deepStrictEqual([failed[0][1], failed[2][1]], ['OK', 'OK']);
  await assert.rejects(one.multi().set('k4', 1).call('NOSUCH').exec(), /EXECABORT/);
  assert.strictEqual(await one.get('k4'), null);

  await one.watch('k0');
  await other.set('k0', 'other');
  assert.strictEqual(await one.multi().set('k0', 'mine').exec(), null);
  await one.watch('k0');
  assert.deepStrictEqual(await one.multi().set('k0', 'mine').exec(), [[null, 'OK']]);

  await one.multi({ pipeline: false });
  assert.strictEqual(await one.set('k1', 5), 'QUEUED');
  assert.deepStrictEqual(await one.exec(), [[null, 'OK']]);

  assert.strictEqual(await one.mset(...KEYS.flatMap((key) => [key, key])), 'OK');
  assert.deepStrictEqual(await other.mget(...KEYS), KEYS);
  assert.strictEqual(await one.msetnx('k0', 1, 'fresh', 2), 0);
  assert.strictEqual(await one.rename('k0', 'k9'), 'OK');
  assert.strictEqual(await other.del(...KEYS, 'k9'), 5);
  if (clusterList) {
    const cluster = new Cluster(clusterList.split(',').map((port) => ({ host: '127.0.0.1', port: Number(port) })));
    const ofOneTag = await cluster.multi().set('{t}a', 1).set('{t}b', 2).mget('{t}a', '{t}b').exec();
    assert.deepStrictEqual(ofOneTag, [[null, 'OK'], [null, 'OK'], [null, ['1', '2']]]);
    cluster.disconnect();
  }
  one.disconnect();
  other.disconnect();
}

async function withNodeRedis() {
  const { createClient, createCluster, WatchError } = require('redis');
  const clients = [ports[0], ports[1]].map((port) => createClient({ url: `redis://127.0.0.1:${port}` }));
  const [one, other] = clients;
  for (const client of clients) {
    client.on('error', () => {});
    await client.connect();
  }
  const executed = await one.multi().set('k0', '1').incr('k1').mGet(['k0', 'k1', 'k9']).exec();
  assert.deepStrictEqual(executed, ['OK', 1, ['1', '1', null]]);
  assert.deepStrictEqual(await other.mGet(['k0', 'k1']), ['1', '1']);
  const failed = await one.multi().set('k2', 'x').incr('k2').set('k3', 'y').exec().catch((error) => error.replies);
  assert.match(String(failed[1]), /not an integer/);
  assert.deepStrictEqual([failed[0], failed[2]], ['OK', 'OK']);

  await one.watch('k0');
  await other.set('k0', 'other');
  await assert.rejects(one.multi().set('k0', 'mine').exec(), WatchError);
  await one.watch('k0');
  assert.deepStrictEqual(await one.multi().set('k0', 'mine').exec(), ['OK']);

  assert.strictEqual(await one.mSet(KEYS.map((key) => [key, key])), 'OK');
  assert.deepStrictEqual(await other.mGet(KEYS), KEYS);
  assert.strictEqual(Number(await one.mSetNX([['k0', '1'], ['fresh', '2']])), 0);
  assert.strictEqual(await one.rename('k0', 'k9'), 'OK');
  assert.strictEqual(await other.del([...KEYS, 'k9']), 5);
  if (clusterList) {
    const cluster = createCluster({
      rootNodes: clusterList.split(',').map((port) => ({ url: `redis://127.0.0.1:${port}` })),
    });
    cluster.on('error', () => {});
    await cluster.connect();
    const ofOneTag = await cluster.multi().set('{t}a', '1').set('{t}b', '2').mGet(['{t}a', '{t}b']).exec();
    assert.deepStrictEqual(ofOneTag, ['OK', 'OK', ['1', '2']]);
    cluster.destroy();
  }
  for (const client of clients) client.destroy();
}

(library === 'ioredis' ? withIoredis() : withNodeRedis())
  .then(() => { console.log('all good'); process.exit(0); })
  .catch((error) => { console.error(error); process.exit(1); });
