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
  /** How many rows it must return; with another number the transaction is undone, and fails with `otherwise`. */
  rows?: number;
  /** Also for a row that refers to one that does not exist, or is referred to. */
  otherwise?: ErrorCode;
}

export interface Database {
  read(sql: string, ...values: Value[]): Promise<Row[]>;
  /**
   * Runs statements in one transaction, and returns the rows of each.
   *
   * @param locks names of what no two transactions may change at once.
   * @throws S3Error with the code of a statement that fails as expected
   */
  write(statements: Statement[], locks?: string[]): Promise<Row[][]>;
  /** Like `write`, for a transaction that makes room: it also runs if the disk is full. */
  free(statements: Statement[], locks?: string[]): Promise<Row[][]>;
  close(): Promise<void>;
}

/** What a database has to know of a failed statement. */
export interface Failure {
  message: string;
  otherwise?: ErrorCode;
}

export async function openDatabase(folder: string, url: string | undefined): Promise<Database> {
  return url === undefined ? Sqlite.open(join(folder, "store.sqlite")) : Postgres.open(url);
}

export const FULL = "The disk of the store is full";

type Reply = { id: number; rows: Row[][] } | { id: number; failure: Failure };

class Sqlite implements Database {
  private readonly waiting = new Map<number, { resolve(rows: Row[][]): void; reject(error: Error): void }>();
  private lastId = 0;

  private constructor(private readonly worker: Worker) {
    worker.on("message", (reply: Reply) => {
      const { resolve, reject } = this.waiting.get(reply.id) ?? {};
      this.waiting.delete(reply.id);
      if ("rows" in reply) resolve?.(reply.rows);
      else reject?.(errorOf(reply.failure));
    });
  }

  static async open(path: string): Promise<Database> {
    const worker = new Worker(new URL("./sqlite-worker.js", import.meta.url), { workerData: path });
    // Rejects with the worker's error if it cannot start.
    await once(worker, "message");
    return new Sqlite(worker);
  }

  async read(sql: string, ...values: Value[]): Promise<Row[]> {
    const [rows = []] = await this.send([{ sql, values }], "read");
    return rows;
  }

  /** SQLite has one writer at a time, so that nothing has to be locked. */
  write(statements: Statement[]): Promise<Row[][]> {
    return this.send(statements, "write");
  }

  free(statements: Statement[]): Promise<Row[][]> {
    return this.send(statements, "free");
  }

  private send(statements: Statement[], kind: "read" | "write" | "free"): Promise<Row[][]> {
    return new Promise((resolve, reject) => {
      const id = ++this.lastId;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, statements, kind });
    });
  }

  async close(): Promise<void> {
    await this.worker.terminate();
  }
}

/** What is used of the driver `postgres`. */
interface Sql {
  unsafe(text: string, values: Value[], options: { prepare: boolean }): Promise<Row[]>;
  begin<T>(run: (sql: Sql) => Promise<T>): Promise<T>;
  end(options: { timeout: number }): Promise<void>;
}

class Postgres implements Database {
  private constructor(private readonly sql: Sql) {}

  static async open(url: string): Promise<Database> {
    // Loaded only for those who use it.
    const { default: postgres } = await import("postgres");
    const int8 = { to: 20, from: [20], parse: Number, serialize: String };
    const options = { max: 4, connect_timeout: 10, types: { int8 }, onnotice: () => undefined };
    return new Postgres(postgres(url, options) as unknown as Sql);
  }

  read(sql: string, ...values: Value[]): Promise<Row[]> {
    return this.run(this.sql, { sql, values });
  }

  async write(statements: Statement[], locks: string[] = []): Promise<Row[][]> {
    return await this.sql.begin(async (sql) => {
      // In one order, so that no two transactions wait for each other.
      for (const name of [...new Set(locks)].sort()) {
        await this.run(sql, { sql: "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", values: [name] });
      }
      const results: Row[][] = [];
      for (const statement of statements) {
        const rows = await this.run(sql, statement).catch((error: Error & { code?: string }) => {
          const isReference = error.code === "23503" && statement.otherwise !== undefined;
          throw isReference ? errorOf({ message: error.message, ...statement }) : error;
        });
        if (statement.rows !== undefined && rows.length !== statement.rows) {
          throw errorOf({ message: `${statement.sql}: ${rows.length} rows`, ...statement });
        }
        results.push(rows);
      }
      return results;
    });
  }

  /** The server keeps its own reserve. */
  free(statements: Statement[], locks?: string[]): Promise<Row[][]> {
    return this.write(statements, locks);
  }

  private async run(sql: Sql, statement: Statement): Promise<Row[]> {
    let count = 0;
    const text = statement.sql.replace(/\?/g, () => `$${++count}`);
    return [...(await sql.unsafe(text, statement.values, { prepare: count > 0 }))];
  }

  close(): Promise<void> {
    return this.sql.end({ timeout: 5 });
  }
}

function errorOf({ message, otherwise }: Failure): Error {
  if (/disk is full/.test(message)) return new S3Error("ServiceUnavailable", FULL);
  return otherwise === undefined ? new Error(`the database: ${message}`) : new S3Error(otherwise);
}
