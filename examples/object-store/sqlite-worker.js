/** Runs SQLite's statements in a thread of its own, with the driver that the runtime brings along. */
import { parentPort, workerData } from "node:worker_threads";

/** How long a transaction waits for those of other instances. */
const BUSY_MS = 20_000;
const MAX_PREPARED = 200;

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
    database.exec("ROLLBACK");
    throw error;
  }
}

parentPort.on("message", ({ id, statements, isWrite }) => {
  try {
    parentPort.postMessage({ id, rows: isWrite ? transaction(statements) : statements.map(run) });
  } catch (error) {
    parentPort.postMessage({ id, failure: { message: error.message, otherwise: error.otherwise } });
  }
});
parentPort.postMessage("ready");
