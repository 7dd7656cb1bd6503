/** Runs SQLite's statements in a thread of its own, with the driver that the runtime brings along. */
import { rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";

/** How long a transaction waits for those of other instances. */
const BUSY_MS = 20_000;
const MAX_PREPARED = 200;
/** A file of this size beside the database is given up when the disk is full, so that objects can still be deleted. */
const RESERVE_BYTES = 16 << 20;
const RESERVE_EVERY_MS = 60_000;
const reserve = `${workerData}.reserve`;

function fillReserve() {
  if (statSync(reserve, { throwIfNoEntry: false })?.size === RESERVE_BYTES) return;
  try {
    writeFileSync(reserve, Buffer.alloc(RESERVE_BYTES));
  } catch {
    // The disk is still full.
    rmSync(reserve, { force: true });
  }
}

async function open(path) {
  if (process.versions.bun !== undefined) {
    const { Database } = await import("bun:sqlite");
    return new Database(path, { create: true });
  }
  const sqlite = await import("node:sqlite").catch(() => {
    throw new Error(
      `SQLite needs Bun or Node 22.13; this is Node ${process.versions.node}: set runtime: "bun", or DATABASE_URL to a PostgreSQL database`,
    );
  });
  return new sqlite.DatabaseSync(path);
}

const database = await open(workerData);
database.exec(`PRAGMA busy_timeout = ${BUSY_MS}`);
database.exec("PRAGMA journal_mode = WAL");
// A commit is on the disk before it is acknowledged.
database.exec("PRAGMA synchronous = FULL");
database.exec("PRAGMA foreign_keys = ON");

const prepared = new Map();

function rowsOf(sql, values) {
  let statement = prepared.get(sql);
  if (statement === undefined) {
    statement = database.prepare(sql);
    if (prepared.size >= MAX_PREPARED) prepared.clear();
    prepared.set(sql, statement);
  }
  return statement.all(...values);
}

function run({ sql, values, rows, otherwise }) {
  let found;
  try {
    found = rowsOf(sql, values);
  } catch (error) {
    const isReference = otherwise !== undefined && /FOREIGN KEY/.test(error.message);
    throw Object.assign(error, { otherwise: isReference ? otherwise : undefined });
  }
  if (rows === undefined || found.length === rows) return found;
  throw Object.assign(new Error(`${sql}: ${found.length} rows`), { otherwise });
}

function transaction(statements) {
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

/** Runs a transaction that makes room, also on a full disk. */
function freeing(statements) {
  try {
    return transaction(statements);
  } catch (error) {
    if (!/disk is full|disk I\/O error/.test(error.message)) throw error;
    if (statSync(reserve, { throwIfNoEntry: false }) !== undefined) truncateSync(reserve);
    return transaction(statements);
  }
}

parentPort.on("message", ({ id, statements, kind }) => {
  try {
    const rows = { read: (each) => each.map(run), write: transaction, free: freeing }[kind](statements);
    parentPort.postMessage({ id, rows });
  } catch (error) {
    parentPort.postMessage({ id, failure: { message: error.message, otherwise: error.otherwise } });
  }
});
fillReserve();
setInterval(fillReserve, RESERVE_EVERY_MS);
parentPort.postMessage("ready");
