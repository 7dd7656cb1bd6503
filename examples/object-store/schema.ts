/** What the store keeps about its buckets, objects and uploads: the tables, and their rows as the code sees them. */

/** A part of a file; an object is one or more of them. */
export interface Segment {
  file: string;
  start: number;
  size: number;
  /** Whether the file has more bytes than these. */
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
  /** Counts the changes of the upload. */
  revision: number;
  /** The object's ETag and fields, when the upload is complete. */
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

/** The ETag of the object that a put replaces, `*` for any; `absent`: there must be no object. */
export type PutCondition = { etag: string } | "absent" | undefined;

/** What must hold for an object that is deleted; a missing object matches. */
export interface DeleteCondition {
  etag?: string;
  size?: number;
  /** In whole seconds, as clients see it. */
  modified?: number;
}

export const SCHEMA = [
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
  // Every file in the folder, with the object or part that owns it, or since when it has no owner.
  "CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, owner TEXT NOT NULL, dropped BIGINT)",
  "CREATE INDEX IF NOT EXISTS files_by_owner ON files (owner)",
  "CREATE INDEX IF NOT EXISTS dropped_files ON files (dropped) WHERE dropped IS NOT NULL",
];

export const JSON_COLUMNS = ["segments", "fields", "result"];
