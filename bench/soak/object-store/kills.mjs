/** Kills random instances during puts: acknowledged objects must exist, and none may be incomplete. */
import { createHash, randomBytes } from "node:crypto";
import { verdict, wait } from "../support.mjs";
import { valuesOf } from "./client.mjs";
import { startStore } from "./store.mjs";

const CLIENTS = 12;
const SHARED_KEYS = 5;
/** A database may contain the objects of an earlier run, whose files are gone. */
const BUCKET = `kills-${Date.now()}`;
const md5 = (bytes) => createHash("md5").update(bytes).digest("hex");

export async function killsPart({ runtime, hasPostgres, kills: wanted, pauseMs }) {
  const store = await startStore({ runtime, hasPostgres });
  const s3 = store.client({ timeoutMs: 30_000 });
  /** By key: the last acknowledged content, and the contents sent since then, each of which may have been stored. */
  const keys = new Map();
  const counts = { acknowledged: 0, refused: 0, lost: 0, wrongReads: 0, reads: 0, creates: 0, createdTwice: 0 };
  let isOver = false;
  let kills = 0;

  async function put(key, body) {
    try {
      const { status } = await s3.request("PUT", `/${BUCKET}/${key}`, { body });
      if (status === 200) counts.acknowledged++;
      else counts.refused++;
      return status === 200;
    } catch {
      counts.lost++;
      return false;
    }
  }

  /** Writes separate keys, one after the other or repeatedly, and reads some of them back. */
  async function ownKeys(number) {
    for (let n = 0; !isOver; n++) {
      const key = n % 3 === 0 ? `own-${number}-over` : `own-${number}-${n}`;
      const body = randomBytes(1 + Math.floor(Math.random() * (n % 10 === 0 ? 2_000_000 : 60_000)));
      const entry = keys.get(key) ?? { possible: new Set() };
      keys.set(key, entry);
      entry.possible.add(md5(body));
      if (await put(key, body)) {
        entry.possible = new Set([md5(body)]);
        entry.isAcknowledged = true;
      } else await wait(10);
      if (n % 4 === 1) await readBack(key, entry.possible);
    }
  }

  /** Several clients write the same keys: any content that was sent may be the last one. */
  async function sharedKeys() {
    for (let n = 0; !isOver; n++) {
      const key = `shared-${n % SHARED_KEYS}`;
      const body = randomBytes(1 + Math.floor(Math.random() * 200_000));
      const entry = keys.get(key) ?? { possible: new Set() };
      keys.set(key, entry);
      entry.possible.add(md5(body));
      if (await put(key, body)) entry.isAcknowledged = true;
      else await wait(10);
      if (n % 4 === 1) await readBack(key, entry.possible);
    }
  }

  /** Several clients create the same key, which may succeed for only one; without a response the result is unknown. */
  async function createdOnce() {
    for (let n = 0; !isOver; n++) {
      const key = `once-${n}`;
      const bodies = Array.from({ length: 3 }, () => randomBytes(1 + Math.floor(Math.random() * 20_000)));
      const headers = { "if-none-match": "*" };
      const sent = bodies.map(async (body) => {
        const response = await s3.request("PUT", `/${BUCKET}/${key}`, { body, headers }).catch(() => undefined);
        return { hash: md5(body), status: response?.status };
      });
      const outcomes = await Promise.all(sent);
      const [first, ...more] = outcomes.filter(({ status }) => status === 200);
      counts.creates++;
      if (more.length > 0) counts.createdTwice++;
      // A put that was cut off may have been stored; a rejected one was not.
      const unknown = outcomes.filter(({ status }) => status !== 412).map(({ hash }) => hash);
      keys.set(key, { possible: new Set(first ? [first.hash] : unknown), isAcknowledged: first !== undefined });
    }
  }

  async function readBack(key, possible) {
    const before = new Set(possible);
    const response = await s3.request("GET", `/${BUCKET}/${key}`).catch(() => undefined);
    if (response?.status !== 200) return;
    counts.reads++;
    const hash = md5(response.bytes);
    const isKnown = before.has(hash) || keys.get(key).possible.has(hash);
    if (!isKnown || `"${hash}"` !== response.headers.etag) counts.wrongReads++;
  }

  try {
    await s3.request("PUT", `/${BUCKET}`);
    const startedAt = Date.now();
    const clients = Array.from({ length: CLIENTS }, (_, number) => (number % 3 === 0 ? sharedKeys() : ownKeys(number)));
    clients.push(createdOnce());
    while (kills < wanted) {
      await wait(Math.random() * 2 * pauseMs);
      const instances = await store.pids();
      const one = instances[Math.floor(Math.random() * instances.length)];
      // If instances were killed as fast as they start, they would serve nothing.
      if (one === undefined || instances.length < 3) continue;
      try {
        process.kill(one.pid, "SIGKILL");
        kills++;
      } catch {
        // It was already killed.
      }
    }
    isOver = true;
    await Promise.all(clients);
    const seconds = (Date.now() - startedAt) / 1000;
    process.stdout.write(
      `${kills} kills in ${seconds.toFixed(0)} s; puts: ${counts.acknowledged} acknowledged, ${counts.refused} refused, ` +
        `${counts.lost} broken off; ${counts.reads} reads meanwhile\n`,
    );
    await check(store, s3, keys, counts);
  } finally {
    s3.close();
    await store.stop();
  }
}

async function check(store, s3, keys, counts) {
  // A killed instance runs again after its backoff.
  for (const deadline = Date.now() + 30_000; (await store.pids()).length < 4 && Date.now() < deadline; ) await wait(50);
  const wrong = [];
  for (const [key, { possible, isAcknowledged }] of keys) {
    const { status, bytes, headers } = await s3.request("GET", `/${BUCKET}/${key}`);
    if (status === 404 && !isAcknowledged) continue;
    if (status !== 200 || !possible.has(md5(bytes)) || headers.etag !== `"${md5(bytes)}"`)
      wrong.push(`${key} ${status}`);
  }
  verdict(
    wrong.length === 0,
    `each of ${keys.size} keys has what was acknowledged last${wrong.length ? `: ${wrong.slice(0, 5)}` : ""}`,
  );
  verdict(counts.createdTwice === 0, `none of ${counts.creates} keys was created twice by puts with If-None-Match: *`);
  verdict(counts.wrongReads === 0, `none of ${counts.reads} reads had a content that nobody sent`);
  let halves = 0;
  let listed = 0;
  for (let token; ; ) {
    const query = { "list-type": 2, ...(token && { "continuation-token": token }) };
    const { text } = await s3.request("GET", `/${BUCKET}`, { query });
    for (const entry of text.match(/<Contents>.*?<\/Contents>/g) ?? []) {
      listed++;
      const [key] = valuesOf(entry, "Key");
      const { bytes } = await s3.request("GET", `/${BUCKET}/${key}`);
      if (
        `${bytes.length}` !== valuesOf(entry, "Size")[0] ||
        `&quot;${md5(bytes)}&quot;` !== valuesOf(entry, "ETag")[0]
      )
        halves++;
    }
    [token] = valuesOf(text, "NextContinuationToken");
    if (token === undefined) break;
  }
  verdict(halves === 0, `each of ${listed} listed objects has the size and the ETag that the listing says`);
}
