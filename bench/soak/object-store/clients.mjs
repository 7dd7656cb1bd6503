/** Every client does its round while the store is reloaded and its instances are killed. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { PACELINE, verdict, wait } from "../support.mjs";
import { valuesOf } from "./client.mjs";
import { programs } from "./programs.mjs";
import { fillBucket, makeFiles, round } from "./rounds.mjs";
import { startStore } from "./store.mjs";

const execute = promisify(execFile);
const LISTED = 2500;
const TREE_FILES = 300;
const LARGE_BYTES = 100 << 20;

/** The stores with which the clients do their rounds. */
const VARIANTS = {
  plain: {},
  node: { runtime: "node", hasPostgres: true },
  tls: { buckets: ["full", "round-1", "round-2", "round-3", "round-4", "round-5"] },
};

export async function clientsPart({ runtime, hasPostgres, programs: wanted, variants }) {
  for (const name of variants) {
    if (VARIANTS[name] === undefined) throw new Error(`no variant named ${name} (known: ${Object.keys(VARIANTS)})`);
    const options = { runtime, hasPostgres, ...VARIANTS[name] };
    const database = options.hasPostgres ? "PostgreSQL" : "SQLite";
    process.stdout.write(
      `${name}: on ${options.runtime}, ${database}${options.buckets ? ", TLS, buckets as hosts" : ""}\n`,
    );
    await rounds(options, wanted);
  }
}

async function rounds(options, wanted) {
  const folder = mkdtempSync(path.join(tmpdir(), "paceline-clients-"));
  const store = await startStore(options);
  const s3 = store.client();
  const missing = [];
  const all = programs(store.place, missing);
  try {
    const files = makeFiles(folder, { largeBytes: LARGE_BYTES, files: TREE_FILES });
    await fillBucket(s3, "full", LISTED);
    if (missing.length > 0) process.stdout.write(`not installed: ${missing.join(", ")}\n`);
    let number = 0;
    for (const program of all.filter(({ name }) => wanted.length === 0 || wanted.includes(name))) {
      const disturbed = disturbances(store);
      const bucket = `round-${++number}`;
      const { place } = store;
      const { phase } = disturbed;
      const steps = await round(program, files, { place, bucket, full: "full", listed: LISTED, folder, phase });
      const { reloads, kills } = await disturbed.end();
      const times = steps.map(({ name, ms }) => `${name} ${(ms / 1000).toFixed(1)} s`).join(", ");
      const failures = steps.filter(({ failure }) => failure !== undefined);
      const text = `${program.name}: ${steps.length} steps, ${reloads} reloads, ${kills} kills; ${times}`;
      verdict(failures.length === 0 && reloads === 2, text);
      for (const { name, failure } of failures) process.stdout.write(`       ${name}: ${failure}\n`);
      await agrees(s3, bucket, program.name);
    }
  } finally {
    for (const program of all) program.close();
    s3.close();
    await store.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Two reloads, one of them during the sync of a tree, and a kill of a busy instance during the multipart upload. */
function disturbances(store) {
  const counts = { reloads: 0, kills: 0 };
  let work = Promise.resolve();
  const reload = () => {
    work = work.then(async () => {
      await execute("sh", [PACELINE, "reload", "store", ...store.fleet.runDirArgs]);
      counts.reloads++;
    });
  };
  /** Kills the first instance that is writing a part; returns false if there is none. */
  const kill = async () => {
    const writer = (await store.pids()).find(({ pid }) => writesPart(pid));
    if (writer === undefined) return false;
    process.kill(writer.pid, "SIGKILL");
    counts.kills++;
    return true;
  };
  return {
    /** Resolves when the step may begin. */
    async phase(name) {
      if (name === "list" || name === "sync") reload();
      if (name !== "multipart") return;
      await work;
      work = (async () => {
        for (const deadline = Date.now() + 20_000; !(await kill()) && Date.now() < deadline; ) await wait(2);
      })();
    },
    async end() {
      await work;
      return counts;
    },
  };
}

/** Whether a process has a temporary file of the store open. */
function writesPart(pid) {
  try {
    const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    return open.some((name) => name.includes("/temporary/"));
  } catch {
    // A descriptor was closed in the meantime, or the process has exited.
    return false;
  }
}

/** Both listings must name the same keys, and each object must be readable completely. */
async function agrees(s3, bucket, name) {
  const pages = async (query, next) => {
    const keys = [];
    for (let position = {}; position !== undefined; ) {
      const { text } = await s3.request("GET", `/${bucket}`, { query: { ...query, "max-keys": 100, ...position } });
      keys.push(...valuesOf(text, "Key"));
      position = next(text);
    }
    return keys;
  };
  const v2 = await pages({ "list-type": 2, "encoding-type": "url" }, (text) => {
    const [token] = valuesOf(text, "NextContinuationToken");
    return token && { "continuation-token": token };
  });
  const v1 = await pages({ "encoding-type": "url" }, (text) => {
    const [marker] = valuesOf(text, "NextMarker");
    return marker && { marker: decodeURIComponent(marker) };
  });
  let broken = 0;
  for (const key of v2) if ((await s3.request("HEAD", `/${bucket}/${key}`)).status !== 200) broken++;
  verdict(
    v1.join() === v2.join() && broken === 0,
    `${name}: both listings have the same ${v2.length} keys, all readable`,
  );
}
