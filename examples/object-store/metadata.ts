/** Buckets, objects and uploads in the database: all SQL, the same for both databases. */
import { randomUUID } from "node:crypto";
import { type Database, Postgres, type Row, Sqlite, type Statement, sql } from "./database.ts";
import type { ErrorCode } from "./errors.ts";
import { behindPrefix } from "./listing.ts";
import type { DeleteCondition, Fields, ObjectEntry, Part, PutCondition, StoredObject, Upload } from "./schema.ts";
import { JSON_COLUMNS, SCHEMA } from "./schema.ts";

export class Metadata {
  private constructor(private readonly database: Database) {}

  static async open(folder: string, url: string | undefined): Promise<Metadata> {
    const database = await (url === undefined ? Sqlite.open(folder) : Postgres.open(url));
    // In PostgreSQL the collation of the database may differ from the order of bytes.
    const text = url === undefined ? "TEXT COLLATE BINARY" : 'TEXT COLLATE "C"';
    const tables = SCHEMA.map((table) => ({ sql: table.replaceAll("KEY_TEXT", text), values: [] }));
    await database.write(tables, { locks: ["schema"] });
    return new Metadata(database);
  }

  readonly close = (): Promise<void> => this.database.close();

  private async rows<T>(statement: Statement): Promise<T[]> {
    return (await this.database.read(statement)).map((row) => fromRow(row) as T);
  }

  // Buckets:

  buckets(): Promise<{ name: string; created: number }[]> {
    return this.rows(sql`SELECT name, created FROM buckets ORDER BY name`);
  }

  async hasBucket(name: string): Promise<boolean> {
    return (await this.rows(sql`SELECT name FROM buckets WHERE name = ${name}`)).length > 0;
  }

  async createBucket(name: string, now: number): Promise<void> {
    const insert = sql`INSERT INTO buckets (name, created) VALUES (${name}, ${now}) ON CONFLICT DO NOTHING RETURNING name`;
    await this.database.write([{ ...insert, rows: 1, otherwise: "BucketAlreadyOwnedByYou" }]);
  }

  /** Uploads in progress end with the bucket. */
  async deleteBucket(name: string, now: number): Promise<void> {
    const uploads = sql`SELECT id FROM uploads WHERE bucket = ${name}`;
    await this.database.write([
      dropFiles(sql`SELECT owner FROM parts WHERE upload IN (${uploads})`, now),
      sql`DELETE FROM parts WHERE upload IN (${uploads})`,
      sql`DELETE FROM uploads WHERE bucket = ${name}`,
      // The bucket is known to exist, so it still has objects if this fails.
      { ...sql`DELETE FROM buckets WHERE name = ${name} RETURNING name`, rows: 1, otherwise: "BucketNotEmpty" },
    ]);
  }

  // Objects:

  async object(bucket: string, key: string): Promise<StoredObject | undefined> {
    const columns = sql`key, size, etag, modified, segments, fields`;
    return (await this.rows<StoredObject>(objectSql(columns, bucket, key)))[0];
  }

  list(bucket: string, from: string, to: string | undefined, limit: number): Promise<ObjectEntry[]> {
    return this.rows(sql`SELECT key, size, etag, modified FROM objects
      WHERE bucket = ${bucket} AND key >= ${from} ${until(to)} ORDER BY key LIMIT ${limit}`);
  }

  /**
   * Puts an object in place of the previous one, whose files are dropped.
   * @param request its id
   */
  async putObject(bucket: string, object: StoredObject, condition: PutCondition, request: string): Promise<void> {
    const version = `${request} ${randomUUID()}`;
    const statements = [
      ...checkPut(bucket, object.key, condition, `${request} `),
      dropFiles(objectSql(sql`version`, bucket, object.key), object.modified),
      ...object.segments.map(({ file }) => insertFile(file, version)),
      replaceObject(bucket, object, version),
    ];
    await this.database.write(statements, { locks: [lockOf(bucket, object.key)] });
  }

  /** @param condition of each of the keys; unless all conditions hold, no key is deleted */
  async deleteObjects(bucket: string, keys: string[], now: number, condition?: DeleteCondition): Promise<void> {
    const statements = keys.flatMap((key) => [
      ...(condition === undefined ? [] : [checkDelete(bucket, key, condition)]),
      dropFiles(objectSql(sql`version`, bucket, key), now),
      sql`DELETE FROM objects WHERE bucket = ${bucket} AND key = ${key}`,
    ]);
    const locks = keys.map((key) => lockOf(bucket, key));
    await this.database.write(statements, { locks, makesRoom: true });
  }

  // Multipart uploads:

  async createUpload(bucket: string, key: string, fields: Fields, now: number): Promise<string> {
    const id = randomUUID().replaceAll("-", "");
    const insert = sql`INSERT INTO uploads (id, bucket, key, created, fields, revision)
      VALUES (${id}, ${bucket}, ${key}, ${now}, ${JSON.stringify(fields)}, 0)`;
    await this.database.write([{ ...insert, otherwise: "NoSuchBucket" }]);
    return id;
  }

  async upload(id: string): Promise<Upload | undefined> {
    return (await this.rows<Upload>(sql`SELECT * FROM uploads WHERE id = ${id}`))[0];
  }

  /** Uploads of keys with a prefix, after a key and an id. */
  uploads(bucket: string, prefix: string, [key, id]: [string, string], limit: number): Promise<Upload[]> {
    return this.rows(sql`SELECT * FROM uploads
      WHERE bucket = ${bucket} AND result IS NULL AND key >= ${prefix} ${until(behindPrefix(prefix))}
      AND (key > ${key} OR (key = ${key} AND id > ${id})) ORDER BY key, id LIMIT ${limit}`);
  }

  async putPart(upload: string, part: Part): Promise<void> {
    const owner = randomUUID();
    const { checksum = null, segments, ...rest } = part;
    const row = { upload, owner, checksum, segments: JSON.stringify(segments), ...rest };
    await this.database.write([
      changeUpload(upload),
      dropFiles(sql`SELECT owner FROM parts WHERE upload = ${upload} AND number = ${part.number}`, part.modified),
      ...segments.map(({ file }) => insertFile(file, owner)),
      replaceRow("parts", ["upload", "number"], row),
    ]);
  }

  parts(upload: string, after = 0, limit = 10_001): Promise<Part[]> {
    return this.rows(sql`SELECT number, size, etag, modified, checksum, segments FROM parts
      WHERE upload = ${upload} AND number > ${after} ORDER BY number LIMIT ${limit}`);
  }

  /**
   * Makes an object from the parts of an upload; the files of `unused` parts are dropped. Fails with OperationAborted if a part was added
   * after the upload was read.
   */
  async completeUpload(upload: Upload, object: StoredObject, unused: number[], condition: PutCondition) {
    const { id, bucket, revision } = upload;
    const version = randomUUID();
    const owners = sql`SELECT owner FROM parts WHERE upload = ${id}`;
    const result = JSON.stringify({ etag: object.etag, fields: object.fields });
    const complete = sql`UPDATE uploads SET result = ${result}
      WHERE id = ${id} AND revision = ${revision} AND result IS NULL RETURNING id`;
    const statements: Statement[] = [
      { ...complete, rows: 1, otherwise: "OperationAborted" },
      ...checkPut(bucket, object.key, condition, version),
      dropFiles(objectSql(sql`version`, bucket, object.key), object.modified),
      ...unused.map((number) => dropFiles(sql`${owners} AND number = ${number}`, object.modified)),
      sql`UPDATE files SET owner = ${version} WHERE dropped IS NULL AND owner IN (${owners})`,
      sql`DELETE FROM parts WHERE upload = ${id}`,
      replaceObject(bucket, object, version),
    ];
    await this.database.write(statements, { locks: [lockOf(bucket, object.key)] });
  }

  async abortUpload(id: string, now: number): Promise<void> {
    const statements = [
      changeUpload(id),
      dropFiles(sql`SELECT owner FROM parts WHERE upload = ${id}`, now),
      sql`DELETE FROM parts WHERE upload = ${id}`,
      sql`DELETE FROM uploads WHERE id = ${id}`,
    ];
    await this.database.write(statements, { makesRoom: true });
  }

  // The sweep:

  async droppedFiles(before: number, limit: number): Promise<string[]> {
    const rows = await this.rows<{ id: string }>(sql`SELECT id FROM files WHERE dropped < ${before} LIMIT ${limit}`);
    return rows.map(({ id }) => id);
  }

  async forgetFiles(ids: string[]): Promise<void> {
    const statements = ids.map((id) => sql`DELETE FROM files WHERE id = ${id}`);
    await this.database.write(statements, { makesRoom: true });
  }

  /** Returns which of these files belong to an object or a part, or are due for removal. */
  async knownFiles(ids: string[]): Promise<Set<string>> {
    const text = `SELECT id FROM files WHERE id IN (${ids.map(() => "?").join(", ")})`;
    return new Set((await this.rows<{ id: string }>({ sql: text, values: ids })).map(({ id }) => id));
  }

  /** A completed upload is remembered for some time, so that a client may repeat the request. */
  async forgetUploads(before: number): Promise<void> {
    await this.database.write([sql`DELETE FROM uploads WHERE result IS NOT NULL AND created < ${before}`]);
  }
}

const lockOf = (bucket: string, key: string) => `${bucket}/${key}`;

const until = (key: string | undefined) => (key === undefined ? sql`` : sql`AND key < ${key}`);

function objectSql(columns: Statement, bucket: string, key: string): Statement {
  return sql`SELECT ${columns} FROM objects WHERE bucket = ${bucket} AND key = ${key}`;
}

/**
 * If an instance is killed before it responds, the balancer sends the request again. In that case the condition held, and the object is the
 * one that the first attempt has put.
 * @param own the prefix of the versions of this request
 */
function checkPut(bucket: string, key: string, condition: PutCondition, own: string): Statement[] {
  if (condition === undefined) return [];
  const isOwn = sql`substr(version, 1, ${own.length}) = ${own}`;
  const found = objectSql(sql`etag`, bucket, key);
  const otherwise: ErrorCode = "PreconditionFailed";
  if (condition === "absent") return [{ ...sql`${found} AND NOT (${isOwn})`, rows: 0, otherwise }];
  return [
    {
      ...(condition.etag === "*" ? found : sql`${found} AND (etag = ${condition.etag} OR ${isOwn})`),
      rows: 1,
      otherwise,
    },
  ];
}

/** Finds an object that differs. A value that is not stated is NULL, and nothing differs from NULL. */
function checkDelete(bucket: string, key: string, { etag, size, modified }: DeleteCondition): Statement {
  const until = modified === undefined ? null : modified + 1000;
  const differing = sql`${objectSql(sql`key`, bucket, key)} AND (etag <> ${etag ?? null}
    OR size <> ${size ?? null} OR modified < ${modified ?? null} OR modified >= ${until})`;
  return { ...differing, rows: 0, otherwise: "PreconditionFailed" };
}

/** @param owners a query for the owners of files that nobody will need: after some time the sweep removes the files */
function dropFiles(owners: Statement, now: number): Statement {
  return sql`UPDATE files SET dropped = ${now} WHERE owner IN (${owners})`;
}

const insertFile = (file: string, owner: string) => sql`INSERT INTO files (id, owner) VALUES (${file}, ${owner})`;

function replaceObject(bucket: string, { segments, fields, ...entry }: StoredObject, version: string): Statement {
  const row = { ...entry, bucket, version, segments: JSON.stringify(segments), fields: JSON.stringify(fields) };
  return { ...replaceRow("objects", ["bucket", "key"], row), otherwise: "NoSuchBucket" };
}

/** Inserts a row in place of the one with the same key. */
function replaceRow(table: string, key: string[], row: Row): Statement {
  const names = Object.keys(row);
  const changes = names.filter((name) => !key.includes(name)).map((name) => `${name} = excluded.${name}`);
  const text = `INSERT INTO ${table} (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})
    ON CONFLICT (${key.join(", ")}) DO UPDATE SET ${changes.join(", ")}`;
  return { sql: text, values: Object.values(row) };
}

/** Fails if the upload is complete, and locks it until the end of the transaction. */
function changeUpload(id: string): Statement {
  const update = sql`UPDATE uploads SET revision = revision + 1 WHERE id = ${id} AND result IS NULL RETURNING id`;
  return { ...update, rows: 1, otherwise: "NoSuchUpload" };
}

function fromRow(row: Row): unknown {
  const values = Object.entries(row).map(([name, value]) => {
    if (value === null) return [name, undefined];
    return [name, JSON_COLUMNS.includes(name) ? JSON.parse(String(value)) : value];
  });
  return Object.fromEntries(values);
}
