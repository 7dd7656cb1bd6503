/** One small interface for two databases: SQLite in a worker thread, so that no event loop waits, and PostgreSQL. */
import { once } from "node:events";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { type ErrorCode, S3Error } from "./errors.ts";

export type Value = string | number | null;
export type Row = Record<string, Value>;

export interface Statement {
  /** With `?` for each value. */
  sql: string;
  values: Value[];
  /** How many rows it must return; with another number the transaction is rolled back, and fails with `otherwise`. */
  rows?: number;
  /** Also the error for a row that refers to a missing row, or that is referred to. */
  otherwise?: ErrorCode;
}

/** A statement from a template: a value becomes a `?`, and another statement becomes a part of this one. */
export function sql(texts: TemplateStringsArray, ...parts: (Value | Statement)[]): Statement {
  const statements = parts.map((part) =>
    typeof part === "object" && part !== null ? part : { sql: "?", values: [part] },
  );
  const text = texts.map((each, at) => each + (statements[at]?.sql ?? "")).join("");
  return { sql: text, values: statements.flatMap(({ values }) => values) };
}

export interface WriteOptions {
  /** Names of things that no two transactions may change at the same time. */
  locks?: string[];
  /** Whether it must run even if the disk is full. */
  makesRoom?: boolean;
}

export interface Database {
  read(statement: Statement): Promise<Row[]>;
  /** Runs statements in one transaction. @throws S3Error with the code of a statement that fails as expected */
  write(statements: Statement[], options?: WriteOptions): Promise<void>;
  close(): Promise<void>;
}

export const FULL = "The disk of the store is full";

/** What a database has to know about a failed statement. */
type Failure = { message: string; otherwise?: ErrorCode };

type Reply = { rows: Row[][] } | { failure: Failure };

export class Sqlite implements Database {
  /** In the order in which the worker replies. */
  private readonly waiting: { resolve(rows: Row[][]): void; reject(error: Error): void }[] = [];

  private constructor(private readonly worker: Worker) {
    worker.on("message", (reply: Reply) => {
      const { resolve, reject } = this.waiting.shift() ?? {};
      if ("rows" in reply) resolve?.(reply.rows);
      else reject?.(errorOf(reply.failure));
    });
  }

  static async open(folder: string): Promise<Database> {
    const workerData = join(folder, "store.sqlite");
    const worker = new Worker(new URL("./sqlite-worker.js", import.meta.url), { workerData });
    // Rejects with the worker's error if it cannot start.
    await once(worker, "message");
    return new Sqlite(worker);
  }

  async read(statement: Statement): Promise<Row[]> {
    const [rows = []] = await this.send([statement], "read");
    return rows;
  }

  /** SQLite has one writer at a time, so nothing needs to be locked. */
  async write(statements: Statement[], { makesRoom = false }: WriteOptions = {}): Promise<void> {
    await this.send(statements, makesRoom ? "makeRoom" : "write");
  }

  private send(statements: Statement[], kind: "read" | "write" | "makeRoom"): Promise<Row[][]> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.worker.postMessage({ statements, kind });
    });
  }

  async close(): Promise<void> {
    await this.worker.terminate();
  }
}

/** The part of the driver `postgres` that is used here. */
interface Sql {
  unsafe(text: string, values: Value[], options: { prepare: boolean }): Promise<Row[]>;
  begin<T>(run: (sql: Sql) => Promise<T>): Promise<T>;
  end(options: { timeout: number }): Promise<void>;
}

/** PostgreSQL. Its server keeps its own reserve for a full disk. */
export class Postgres implements Database {
  private constructor(private readonly sql: Sql) {}

  static async open(url: string): Promise<Database> {
    // Only loaded if it is used.
    const { default: postgres } = await import("postgres");
    const int8 = { to: 20, from: [20], parse: Number, serialize: String };
    const options = { max: 4, connect_timeout: 10, types: { int8 }, onnotice: () => undefined };
    return new Postgres(postgres(url, options) as unknown as Sql);
  }

  read(statement: Statement): Promise<Row[]> {
    return run(this.sql, statement);
  }

  async write(statements: Statement[], { locks = [] }: WriteOptions = {}): Promise<void> {
    await this.sql.begin(async (connection) => {
      // Always in the same order, so that no two transactions wait for each other.
      for (const name of [...new Set(locks)].sort()) {
        await run(connection, sql`SELECT pg_advisory_xact_lock(hashtextextended(${name}, 0))`);
      }
      for (const statement of statements) {
        const rows = await run(connection, statement).catch((error: Error & { code?: string }) => {
          const isReference = error.code === "23503" && statement.otherwise !== undefined;
          throw isReference ? errorOf({ message: error.message, ...statement }) : error;
        });
        if (statement.rows === undefined || rows.length === statement.rows) continue;
        throw errorOf({ message: `${statement.sql}: ${rows.length} rows`, ...statement });
      }
    });
  }

  close(): Promise<void> {
    return this.sql.end({ timeout: 5 });
  }
}

async function run(connection: Sql, statement: Statement): Promise<Row[]> {
  let count = 0;
  const text = statement.sql.replace(/\?/g, () => `$${++count}`);
  return [...(await connection.unsafe(text, statement.values, { prepare: count > 0 }))];
}

function errorOf({ message, otherwise }: Failure): Error {
  if (/disk is full/.test(message)) return new S3Error("ServiceUnavailable", FULL);
  return otherwise === undefined ? new Error(`the database: ${message}`) : new S3Error(otherwise);
}
