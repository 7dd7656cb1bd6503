/** Buckets, objects and uploads in the database: all SQL, the same for both databases. */
import { randomUUID } from "node:crypto";
import { type Database, openDatabase, type Row, type Statement, type Value } from "./database.ts";
import type { ErrorCode } from "./errors.ts";
import type { KeyRange } from "./listing.ts";

/** A part of a file; an object is one or more of them. */
export interface Segment {
  file: string;
  start: number;
  size: number;
  /** The file has more bytes than these. */
  isSlice?: true;
}

/** Response fields of an object: its type, the user's metadata, checksums. */
export type Fields = Record<string, string>;

export interface ObjectEntry {
  key: string;
  size: number;
  /** Without quotes. */
  etag: string;
  modified: number;
}

export interface StoredObject extends ObjectEntry {
  segments: Segment[];
  fields: Fields;
}

export interface Upload {
  id: string;
  bucket: string;
  key: string;
  created: number;
  fields: Fields;
  /** Counts its changes. */
  revision: number;
  /** The object's ETag and fields, once it is complete. */
  result: { etag: string; fields: Fields } | undefined;
}

export interface Part {
  number: number;
  size: number;
  etag: string;
  modified: number;
  /** In base64, of the upload's algorithm. */
  checksum: string | undefined;
  segments: Segment[];
}

/** What must hold of the object that a put replaces. */
export type PutCondition = { kind: "absent" } | { kind: "etag"; etag: string } | undefined;

/** What must hold of an object that is deleted; one that does not exist fits. */
export interface DeleteCondition {
  etag?: string;
  size?: number;
  /** In whole seconds, as clients see it. */
  modified?: number;
}

export class Metadata {
  private constructor(private readonly database: Database) {}

  static async open(folder: string, url: string | undefined): Promise<Metadata> {
    const database = await openDatabase(folder, url);
    // In PostgreSQL the collation of the database may be another one than that of bytes.
    const text = url === undefined ? "TEXT COLLATE BINARY" : 'TEXT COLLATE "C"';
    const tables = SCHEMA.map((sql) => ({ sql: sql.replaceAll("KEY_TEXT", text), values: [] }));
    await database.write(tables, ["schema"]);
    return new Metadata(database);
  }

  close(): Promise<void> {
    return this.database.close();
  }

  // Buckets.

  async buckets(): Promise<{ name: string; created: number }[]> {
    return (await this.database.read("SELECT name, created FROM buckets ORDER BY name")) as never;
  }

  async hasBucket(name: string): Promise<boolean> {
    return (await this.database.read("SELECT name FROM buckets WHERE name = ?", name)).length > 0;
  }

  async createBucket(name: string, now: number): Promise<void> {
    const sql = "INSERT INTO buckets (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING name";
    await this.database.write([{ sql, values: [name, now], rows: 1, otherwise: "BucketAlreadyOwnedByYou" }]);
  }

  /** Uploads in progress end with it. */
  async deleteBucket(name: string, now: number): Promise<void> {
    const uploads = "SELECT id FROM uploads WHERE bucket = ?";
    await this.database.write([
      {
        sql: `UPDATE files SET dropped = ? WHERE owner IN (SELECT owner FROM parts WHERE upload IN (${uploads}))`,
        values: [now, name],
      },
      { sql: `DELETE FROM parts WHERE upload IN (${uploads})`, values: [name] },
      { sql: "DELETE FROM uploads WHERE bucket = ?", values: [name] },
      {
        sql: "DELETE FROM buckets WHERE name = ? RETURNING name",
        values: [name],
        rows: 1,
        // The bucket is known to exist, so that it has objects.
        otherwise: "BucketNotEmpty",
      },
    ]);
  }

  // Objects.

  async object(bucket: string, key: string): Promise<StoredObject | undefined> {
    const columns = "key, size, etag, modified, segments, fields";
    const sql = `SELECT ${columns} FROM objects WHERE bucket = ? AND key = ?`;
    const [row] = await this.database.read(sql, bucket, key);
    if (row === undefined) return undefined;
    const { segments, fields, ...entry } = row;
    return { ...(entry as unknown as ObjectEntry), segments: fromJson(segments), fields: fromJson(fields) };
  }

  async list(bucket: string, { from, isAfter, to }: KeyRange, limit: number): Promise<ObjectEntry[]> {
    const end = to === undefined ? "" : "AND key < ?";
    const sql = `SELECT key, size, etag, modified FROM objects
      WHERE bucket = ? AND key ${isAfter ? ">" : ">="} ? ${end} ORDER BY key LIMIT ?`;
    const values = to === undefined ? [bucket, from, limit] : [bucket, from, to, limit];
    return (await this.database.read(sql, ...values)) as never;
  }

  /** Puts an object in place of the one before, whose files are dropped. */
  async putObject(bucket: string, object: StoredObject, condition: PutCondition, now: number): Promise<void> {
    const version = randomUUID();
    const files = object.segments.map(({ file }) => insertFile(file, version));
    const statements = [
      ...check(bucket, object.key, condition),
      dropObjectFiles(bucket, object.key, now),
      ...files,
      upsert(bucket, object, version),
    ];
    await this.database.write(statements, [lockOf(bucket, object.key)]);
  }

  /** @param condition of each of the keys; unless all fit, none is deleted. */
  async deleteObjects(bucket: string, keys: string[], now: number, condition?: DeleteCondition): Promise<void> {
    const statements = keys.flatMap((key) => [
      ...(condition === undefined ? [] : [checkDelete(bucket, key, condition)]),
      dropObjectFiles(bucket, key, now),
      { sql: "DELETE FROM objects WHERE bucket = ? AND key = ?", values: [bucket, key] },
    ]);
    await this.database.free(
      statements,
      keys.map((key) => lockOf(bucket, key)),
    );
  }

  // Uploads in parts.

  async createUpload(bucket: string, key: string, fields: Fields, now: number): Promise<string> {
    const id = randomUUID().replaceAll("-", "");
    const sql = "INSERT INTO uploads (id, bucket, key, created, fields, revision) VALUES (?, ?, ?, ?, ?, 0)";
    const values = [id, bucket, key, now, JSON.stringify(fields)];
    await this.database.write([{ sql, values, otherwise: "NoSuchBucket" }]);
    return id;
  }

  async upload(id: string): Promise<Upload | undefined> {
    const [row] = await this.database.read("SELECT * FROM uploads WHERE id = ?", id);
    return row === undefined ? undefined : uploadOf(row);
  }

  /** Those of keys with a prefix, behind a key and an id. */
  async uploads(bucket: string, from: string, to: string | undefined, after: [string, string], limit: number) {
    const end = to === undefined ? "" : "AND key < ?";
    const sql = `SELECT * FROM uploads WHERE bucket = ? AND result IS NULL AND key >= ? ${end}
      AND (key > ? OR (key = ? AND id > ?)) ORDER BY key, id LIMIT ?`;
    const range = to === undefined ? [from] : [from, to];
    const rows = await this.database.read(sql, bucket, ...range, after[0], after[0], after[1], limit);
    return rows.map(uploadOf);
  }

  async putPart(upload: string, part: Part, now: number): Promise<void> {
    const owner = randomUUID();
    const sql = `INSERT INTO parts (upload, number, owner, size, etag, modified, checksum, segments)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (upload, number) DO UPDATE SET owner = excluded.owner,
      size = excluded.size, etag = excluded.etag, modified = excluded.modified, checksum = excluded.checksum,
      segments = excluded.segments`;
    const { number, size, etag, modified, checksum = null, segments } = part;
    await this.database.write([
      changeUpload(upload),
      {
        sql: "UPDATE files SET dropped = ? WHERE owner = (SELECT owner FROM parts WHERE upload = ? AND number = ?)",
        values: [now, upload, number],
      },
      ...segments.map(({ file }) => insertFile(file, owner)),
      { sql, values: [upload, number, owner, size, etag, modified, checksum, JSON.stringify(segments)] },
    ]);
  }

  async parts(upload: string, after = 0, limit = 10_001): Promise<Part[]> {
    const sql = `SELECT number, size, etag, modified, checksum, segments FROM parts
      WHERE upload = ? AND number > ? ORDER BY number LIMIT ?`;
    const rows = await this.database.read(sql, upload, after, limit);
    return rows.map(
      ({ segments, checksum, ...rest }) =>
        ({ ...rest, checksum: checksum ?? undefined, segments: fromJson(segments) }) as unknown as Part,
    );
  }

  /**
   * Makes an object of an upload's parts; the files of `unused` ones are dropped. Fails with OperationAborted if a part has come
   * since the upload was read.
   */
  async completeUpload(upload: Upload, object: StoredObject, unused: number[], condition: PutCondition, now: number) {
    const { id, bucket, revision } = upload;
    const version = randomUUID();
    const owners = "SELECT owner FROM parts WHERE upload = ?";
    const result = JSON.stringify({ etag: object.etag, fields: object.fields });
    const statements: Statement[] = [
      {
        sql: "UPDATE uploads SET result = ? WHERE id = ? AND revision = ? AND result IS NULL RETURNING id",
        values: [result, id, revision],
        rows: 1,
        otherwise: "OperationAborted",
      },
      ...check(bucket, object.key, condition),
      dropObjectFiles(bucket, object.key, now),
      ...unused.map((number) => ({
        sql: `UPDATE files SET dropped = ? WHERE owner IN (${owners} AND number = ?)`,
        values: [now, id, number],
      })),
      { sql: `UPDATE files SET owner = ? WHERE dropped IS NULL AND owner IN (${owners})`, values: [version, id] },
      { sql: "DELETE FROM parts WHERE upload = ?", values: [id] },
      upsert(bucket, object, version),
    ];
    await this.database.write(statements, [lockOf(bucket, object.key)]);
  }

  async abortUpload(id: string, now: number): Promise<void> {
    await this.database.free([
      changeUpload(id),
      {
        sql: "UPDATE files SET dropped = ? WHERE owner IN (SELECT owner FROM parts WHERE upload = ?)",
        values: [now, id],
      },
      { sql: "DELETE FROM parts WHERE upload = ?", values: [id] },
      { sql: "DELETE FROM uploads WHERE id = ?", values: [id] },
    ]);
  }

  // The sweep.

  async droppedFiles(before: number, limit: number): Promise<string[]> {
    const rows = await this.database.read("SELECT id FROM files WHERE dropped < ? LIMIT ?", before, limit);
    return rows.map(({ id }) => String(id));
  }

  async forgetFiles(ids: string[]): Promise<void> {
    await this.database.free(ids.map((id) => ({ sql: "DELETE FROM files WHERE id = ?", values: [id] })));
  }

  /** Returns which of these files belong to an object or a part, or are due for removal. */
  async knownFiles(ids: string[]): Promise<Set<string>> {
    const sql = `SELECT id FROM files WHERE id IN (${ids.map(() => "?").join(", ")})`;
    return new Set((await this.database.read(sql, ...ids)).map(({ id }) => String(id)));
  }

  /** A completed upload is remembered for a while, so that a client may repeat the request. */
  async forgetUploads(before: number): Promise<void> {
    const sql = "DELETE FROM uploads WHERE result IS NOT NULL AND created < ?";
    await this.database.write([{ sql, values: [before] }]);
  }
}

const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS buckets (name KEY_TEXT PRIMARY KEY, created BIGINT NOT NULL)",
  // `version` owns the object's files.
  `CREATE TABLE IF NOT EXISTS objects (bucket TEXT NOT NULL REFERENCES buckets (name), key KEY_TEXT NOT NULL,
    version TEXT NOT NULL, size BIGINT NOT NULL, etag TEXT NOT NULL, modified BIGINT NOT NULL,
    segments TEXT NOT NULL, fields TEXT NOT NULL, PRIMARY KEY (bucket, key))`,
  `CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, bucket TEXT NOT NULL REFERENCES buckets (name),
    key KEY_TEXT NOT NULL, created BIGINT NOT NULL, fields TEXT NOT NULL, revision INTEGER NOT NULL, result TEXT)`,
  "CREATE INDEX IF NOT EXISTS uploads_by_key ON uploads (bucket, key)",
  `CREATE TABLE IF NOT EXISTS parts (upload TEXT NOT NULL REFERENCES uploads (id), number INTEGER NOT NULL,
    owner TEXT NOT NULL, size BIGINT NOT NULL, etag TEXT NOT NULL, modified BIGINT NOT NULL, checksum TEXT,
    segments TEXT NOT NULL, PRIMARY KEY (upload, number))`,
  // Every file in the folder, with the object or part that owns it, or since when nobody does.
  "CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, owner TEXT NOT NULL, dropped BIGINT)",
  "CREATE INDEX IF NOT EXISTS files_by_owner ON files (owner)",
  "CREATE INDEX IF NOT EXISTS dropped_files ON files (dropped) WHERE dropped IS NOT NULL",
];

function lockOf(bucket: string, key: string): string {
  return `${bucket}/${key}`;
}

function check(bucket: string, key: string, condition: PutCondition): Statement[] {
  if (condition === undefined) return [];
  const otherwise: ErrorCode = "PreconditionFailed";
  const sql = "SELECT etag FROM objects WHERE bucket = ? AND key = ?";
  if (condition.kind === "absent") return [{ sql, values: [bucket, key], rows: 0, otherwise }];
  if (condition.etag === "*") return [{ sql, values: [bucket, key], rows: 1, otherwise }];
  return [{ sql: `${sql} AND etag = ?`, values: [bucket, key, condition.etag], rows: 1, otherwise }];
}

function checkDelete(bucket: string, key: string, { etag, size, modified }: DeleteCondition): Statement {
  const differs: [sql: string, values: Value[]][] = [];
  if (etag !== undefined) differs.push(["etag <> ?", [etag]]);
  if (size !== undefined) differs.push(["size <> ?", [size]]);
  if (modified !== undefined) differs.push(["modified < ? OR modified >= ?", [modified, modified + 1000]]);
  const sql = `SELECT key FROM objects WHERE bucket = ? AND key = ? AND (${differs.map(([each]) => each).join(" OR ")})`;
  const values = [bucket, key, ...differs.flatMap(([, each]) => each)];
  return { sql, values, rows: 0, otherwise: "PreconditionFailed" };
}

function dropObjectFiles(bucket: string, key: string, now: number): Statement {
  const version = "SELECT version FROM objects WHERE bucket = ? AND key = ?";
  return { sql: `UPDATE files SET dropped = ? WHERE owner = (${version})`, values: [now, bucket, key] };
}

function insertFile(file: string, owner: string): Statement {
  return { sql: "INSERT INTO files (id, owner) VALUES (?, ?)", values: [file, owner] };
}

function upsert(bucket: string, object: StoredObject, version: string): Statement {
  const { key, size, etag, modified, segments, fields } = object;
  const sql = `INSERT INTO objects (bucket, key, version, size, etag, modified, segments, fields)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (bucket, key) DO UPDATE SET version = excluded.version,
    size = excluded.size, etag = excluded.etag, modified = excluded.modified, segments = excluded.segments,
    fields = excluded.fields`;
  const values = [bucket, key, version, size, etag, modified, JSON.stringify(segments), JSON.stringify(fields)];
  return { sql, values, otherwise: "NoSuchBucket" };
}

/** Fails if the upload is complete, and locks it until the end of the transaction. */
function changeUpload(id: string): Statement {
  const sql = "UPDATE uploads SET revision = revision + 1 WHERE id = ? AND result IS NULL RETURNING id";
  return { sql, values: [id], rows: 1, otherwise: "NoSuchUpload" };
}

function uploadOf({ result, fields, ...rest }: Row): Upload {
  return { ...rest, fields: fromJson(fields), result: result === null ? undefined : fromJson(result) } as never;
}

function fromJson<T>(text: Row[string] | undefined): T {
  return JSON.parse(String(text)) as T;
}
