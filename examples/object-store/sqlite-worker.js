/** Runs SQLite's statements in a separate thread, with the driver that the runtime includes. */
import { chmodSync, closeSync, openSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";

/** How long a transaction waits for those of other instances, in milliseconds. */
const BUSY_MS = 20_000;
const MAX_PREPARED = 200;
/** The size of a file next to the database that is removed when the disk is full, so that objects can still be deleted. */
const RESERVE_BYTES = 16 << 20;
const RESERVE_EVERY_MS = 60_000;
const reserve = `${workerData}.reserve`;
/** Names of buckets and keys are readable only by the owner, whatever the folder's mode is. */
const PRIVATE = 0o600;

/** Before SQLite opens the database, because SQLite gives the files next to it the same mode. */
function keepPrivate(database) {
  closeSync(openSync(database, "a", PRIVATE));
  // Files of earlier versions.
  for (const path of [database, `${database}-wal`, `${database}-shm`, reserve]) {
    try {
      if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, PRIVATE);
    } catch (error) {
      // The last instance that closes the database removes the files next to it.
      if (error.code !== "ENOENT") throw error;
    }
  }
}

function fillReserve() {
  if (statSync(reserve, { throwIfNoEntry: false })?.size === RESERVE_BYTES) return;
  try {
    writeFileSync(reserve, Buffer.alloc(RESERVE_BYTES), { mode: PRIVATE });
  } catch {
    // The disk is still full.
    rmSync(reserve, { force: true });
  }
}

async function open(path) {
  if (process.versions.bun !== undefined) return new (await import("bun:sqlite")).Database(path, { create: true });
  const sqlite = await import("node:sqlite").catch(() => {
    const ways = 'set runtime: "bun", or DATABASE_URL to a PostgreSQL database';
    throw new Error(`SQLite needs Bun or Node 22.13; this is Node ${process.versions.node}: ${ways}`);
  });
  return new sqlite.DatabaseSync(path);
}

keepPrivate(workerData);
const database = await open(workerData);
// FULL: a commit is on the disk before it is acknowledged.
for (const setting of [`busy_timeout = ${BUSY_MS}`, "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"]) {
  database.exec(`PRAGMA ${setting}`);
}

const prepared = new Map();

function run({ sql, values, rows, otherwise }) {
  if (!prepared.has(sql) && prepared.size >= MAX_PREPARED) prepared.clear();
  const statement = prepared.get(sql) ?? database.prepare(sql);
  prepared.set(sql, statement);
  let found;
  try {
    found = statement.all(...values);
  } catch (error) {
    throw /FOREIGN KEY/.test(error.message) ? Object.assign(error, { otherwise }) : error;
  }
  if (rows === undefined || found.length === rows) return found;
  throw Object.assign(new Error(`${sql}: ${found.length} rows`), { otherwise });
}

function write(statements) {
  database.exec("BEGIN IMMEDIATE");
  try {
    const rows = statements.map(run);
    database.exec("COMMIT");
    return rows;
  } catch (error) {
    try {
      database.exec("ROLLBACK");
    } catch {
      // SQLite itself has rolled it back, as it does if the disk is full.
    }
    throw error;
  }
}

/** Runs a transaction that frees space, even on a full disk. */
function makeRoom(statements) {
  try {
    return write(statements);
  } catch (error) {
    if (!/disk is full|disk I\/O error/.test(error.message)) throw error;
    if (statSync(reserve, { throwIfNoEntry: false }) !== undefined) truncateSync(reserve);
    return write(statements);
  }
}

parentPort.on("message", ({ statements, kind }) => {
  try {
    const read = () => statements.map(run);
    parentPort.postMessage({ rows: { read, write, makeRoom }[kind](statements) });
  } catch (error) {
    parentPort.postMessage({ failure: { message: error.message, otherwise: error.otherwise } });
  }
});
fillReserve();
setInterval(fillReserve, RESERVE_EVERY_MS);
parentPort.postMessage("ready");
