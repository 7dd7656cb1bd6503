/** Objects: get, head, put, copy and delete. */
import { IncomingBody, readXmlBody } from "./body.ts";
import { type Call, isoTime, requireBucket, xmlResponse } from "./call.ts";
import {
  checkConditions,
  checksumsOf,
  deleteConditionOf,
  deletionsOf,
  isRangeMeant,
  objectFieldsOf,
  putConditionOf,
  rangeOf,
  withoutChecksums,
} from "./conditions.ts";
import { S3Error } from "./errors.ts";
import { slice } from "./files.ts";
import type { Fields, StoredObject } from "./metadata.ts";
import { LIMITS } from "./settings.ts";
import { decodeUri } from "./uri.ts";
import { textOf } from "./xml.ts";

/** @throws S3Error NoSuchBucket or NoSuchKey */
export async function findObject({ store }: Pick<Call, "store">, bucket: string, key: string): Promise<StoredObject> {
  const object = await store.metadata.object(bucket, key);
  if (object !== undefined) return object;
  throw new S3Error((await store.metadata.hasBucket(bucket)) ? "NoSuchKey" : "NoSuchBucket");
}

/** Query parameters of a signed request that override fields of the response. */
const OVERRIDES = [
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-type",
  "expires",
];

export async function getObject(call: Call): Promise<Response> {
  const { request, query, store } = call;
  const { headers } = request;
  const object = await findObject(call, call.bucket, call.key);
  const { size, segments } = object;
  const [first] = segments;
  const isOneFile = segments.length === 1 && first !== undefined && !first.isSlice;
  const fields: Fields = { ...withoutChecksums(object.fields), "accept-ranges": "bytes" };
  if (call.identity === undefined && isOneFile && store.settings.filesRoute && !fields["content-encoding"]) {
    // For everybody: the static pool does the rest, and this instance is free.
    fields["x-accel-redirect"] = store.settings.filesRoute + store.files.pathOf(first.file);
    return new Response(null, { headers: fields });
  }
  checkConditions((name) => headers.get(name), object);
  const range = isRangeMeant(headers.get("if-range"), object) ? rangeOf(headers.get("range"), size) : undefined;
  const { start, end } = range ?? { start: 0, end: size };
  fields.etag = `"${object.etag}"`;
  fields["last-modified"] = new Date(object.modified).toUTCString();
  if (range !== undefined) fields["content-range"] = `bytes ${start}-${end - 1}/${size}`;
  else if (headers.get("x-amz-checksum-mode") === "ENABLED") Object.assign(fields, checksumsOf(object.fields));
  for (const name of OVERRIDES) {
    const value = query.get(`response-${name}`);
    if (value === undefined) continue;
    if (call.identity === undefined) throw new S3Error("InvalidRequest", "Only signed requests may override fields");
    if (/[^\t\x20-\xff]/.test(value)) throw new S3Error("InvalidArgument");
    fields[name] = value;
  }
  const status = range === undefined ? 200 : 206;
  if (request.method === "HEAD" || size === 0) {
    return new Response(null, { status, headers: { ...fields, "content-length": `${end - start}` } });
  }
  const parts = slice(segments, start, end);
  const [part] = parts;
  if (part !== undefined && parts.length === 1 && (isOneFile || range !== undefined)) {
    const asked = range === undefined ? {} : { range: `bytes=${part.start}-${part.start + part.size - 1}` };
    const response = await store.sendFile(
      new Request(`http://objects/${store.files.pathOf(part.file)}`, { headers: asked }),
    );
    if (response.status !== status) throw new Error(`the file ${part.file} gets the status ${response.status}`);
    for (const [name, value] of Object.entries(fields)) response.headers.set(name, value);
    return response;
  }
  const blocks = store.files.read(segments, start, end);
  return new Response(streamOf(blocks), { status, headers: { ...fields, "content-length": `${end - start}` } });
}

/** Reads a block when the client has taken the one before. */
function streamOf(blocks: AsyncGenerator<Uint8Array>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await blocks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await blocks.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}

export async function putObject(call: Call): Promise<Response> {
  const { request, store, bucket, key } = call;
  const fields = objectFieldsOf(request.headers);
  const condition = putConditionOf((name) => request.headers.get(name));
  const body = new IncomingBody(call, LIMITS.putBytes);
  await requireBucket(call);
  const { file, size } = await store.files.receive(body.pieces(), (length) => body.verify(length));
  const checksums = body.checksumFields();
  if (body.checksums.size > 0) checksums["x-amz-checksum-type"] = "FULL_OBJECT";
  const now = Date.now();
  const segments = [{ file, start: 0, size }];
  const object = { key, size, etag: body.md5, modified: now, segments, fields: { ...fields, ...checksums } };
  await commit(call, [file], () => store.metadata.putObject(bucket, object, condition, now));
  return new Response(null, { headers: { etag: `"${object.etag}"`, ...checksums } });
}

/**
 * Runs a transaction that refers to new files, and removes them if it was certainly undone. If nobody knows, as when the database
 * was lost, the sweep does.
 */
export async function commit(call: Call, files: string[], write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (error instanceof S3Error) await call.store.files.remove(files);
    throw error;
  }
}

export async function copyObject(call: Call): Promise<Response> {
  const { request, store, bucket, key } = call;
  const { headers } = request;
  const from = copySourceOf(headers);
  const replaces = headers.get("x-amz-metadata-directive") === "REPLACE";
  if (from.bucket === bucket && from.key === key && !replaces) {
    throw new S3Error("InvalidRequest", "A copy of an object onto itself must replace its metadata");
  }
  const given = objectFieldsOf(headers);
  await requireBucket(call);
  const source = await findObject(call, from.bucket, from.key);
  checkConditions((name) => headers.get(name), source, "x-amz-copy-source-");
  if (source.size > LIMITS.putBytes) throw new S3Error("InvalidRequest", "Copy objects of more than 5 GiB in parts");
  const fields = replaces ? { ...given, ...checksumsOf(source.fields) } : source.fields;
  const segments = await store.files.link(source.segments);
  const now = Date.now();
  const object = { key, size: source.size, etag: source.etag, modified: now, segments, fields };
  const files = segments.map(({ file }) => file);
  const condition = putConditionOf((name) => headers.get(name));
  await commit(call, files, () => store.metadata.putObject(bucket, object, condition, now));
  const content = { LastModified: isoTime(now), ETag: `"${object.etag}"`, ...checksumElements(fields) };
  return xmlResponse("CopyObjectResult", content);
}

/** `x-amz-checksum-crc32` as the element ChecksumCRC32. */
export function checksumElements(fields: Fields): Fields {
  return Object.fromEntries(
    Object.entries(checksumsOf(fields)).map(([name, value]) => {
      const algorithm = name.slice("x-amz-checksum-".length);
      return [algorithm === "type" ? "ChecksumType" : `Checksum${algorithm.toUpperCase()}`, value];
    }),
  );
}

/** @throws S3Error InvalidArgument */
export function copySourceOf(headers: Headers): { bucket: string; key: string } {
  const [path = "", query] = (headers.get("x-amz-copy-source") ?? "").replace(/^\//, "").split("?");
  if (query !== undefined && query !== "versionId=null") throw new S3Error("NotImplemented", "There are no versions");
  const [, bucket = "", key = ""] = /^([^/]+)\/(.+)$/.exec(decodeUri(path)) ?? [];
  if (key === "") throw new S3Error("InvalidArgument", "x-amz-copy-source must have the form BUCKET/KEY");
  return { bucket, key };
}

export async function deleteObject(call: Call): Promise<Response> {
  const { store, bucket, key, request } = call;
  const condition = deleteConditionOf((name) => request.headers.get(name));
  await requireBucket(call);
  await store.metadata.deleteObjects(bucket, [key], Date.now(), condition);
  return new Response(null, { status: 204 });
}

export async function deleteObjects(call: Call): Promise<Response> {
  const { store, bucket } = call;
  await requireBucket(call);
  const document = await readXmlBody(call, "Delete");
  const deletions = deletionsOf(document);
  const now = Date.now();
  const plain = deletions.filter(({ condition, failure }) => condition === undefined && failure === undefined);
  await store.metadata.deleteObjects(
    bucket,
    plain.map(({ key }) => key),
    now,
  );
  // Each condition is that of one key.
  for (const deletion of deletions) {
    if (deletion.condition === undefined) continue;
    await store.metadata.deleteObjects(bucket, [deletion.key], now, deletion.condition).catch((error) => {
      if (!(error instanceof S3Error)) throw error;
      deletion.failure = error;
    });
  }
  const isQuiet = textOf(document, "Quiet") === "true";
  const done = deletions.filter(({ failure }) => failure === undefined);
  return xmlResponse("DeleteResult", {
    Deleted: isQuiet ? undefined : done.map(({ key }) => ({ Key: key })),
    Error: deletions.flatMap(({ key, failure }) =>
      failure === undefined ? [] : [{ Key: key, Code: failure.code, Message: failure.message }],
    ),
  });
}
