/** Objects: get, head, put, copy and delete. */
import { IncomingBody, readXmlBody } from "./body.ts";
import { type Call, isoTime, xmlResponse } from "./call.ts";
import * as conditions from "./conditions.ts";
import { demand, S3Error } from "./errors.ts";
import { pathOf, slice } from "./files.ts";
import type { Fields, Segment, StoredObject } from "./schema.ts";
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
const OVERRIDE =
  /^response-(cache-control|content-disposition|content-encoding|content-language|content-type|expires)$/;

export async function getObject(call: Call): Promise<Response> {
  const { request, query, store } = call;
  const { headers } = request;
  const object = await findObject(call, call.bucket, call.key);
  const { size, segments } = object;
  const [first] = segments;
  const isOneFile = segments.length === 1 && !first?.isSlice;
  const fields: Fields = { ...conditions.withoutChecksums(object.fields), "accept-ranges": "bytes" };
  conditions.checkConditions(headers, object);
  const isRange = conditions.isRangeMeant(headers.get("if-range"), object);
  const range = isRange ? conditions.rangeOf(headers.get("range"), size) : undefined;
  const { start, end } = range ?? { start: 0, end: size };
  fields.etag = `"${object.etag}"`;
  fields["last-modified"] = new Date(object.modified).toUTCString();
  const hasChecksums = range === undefined && headers.get("x-amz-checksum-mode") === "ENABLED";
  if (hasChecksums) Object.assign(fields, conditions.checksumsOf(object.fields));
  if (range !== undefined) fields["content-range"] = `bytes ${start}-${end - 1}/${size}`;
  for (const [parameter, value] of query) {
    const name = OVERRIDE.exec(parameter)?.[1];
    if (name === undefined) continue;
    demand(call.identity !== undefined, "InvalidRequest", "Only signed requests may override fields");
    demand(!/[^\t\x20-\xff]/.test(value), "InvalidArgument");
    fields[name] = value;
  }
  const status = range === undefined ? 200 : 206;
  const init = { status, headers: { ...fields, "content-length": `${end - start}` } };
  if (request.method === "HEAD" || size === 0) return new Response(null, init);
  const { filesRoute } = store.settings;
  const isForAll = call.identity === undefined && !headers.has("range") && !("content-encoding" in fields);
  if (isForAll && isOneFile && first && filesRoute !== undefined) {
    // The static pool sends the file with these fields, and this instance is free.
    return new Response(null, { headers: { ...fields, "x-accel-redirect": filesRoute + pathOf(first.file) } });
  }
  const [part, ...more] = slice(segments, start, end);
  if (part === undefined || more.length > 0 || !(isOneFile || range)) {
    return new Response(store.files.read(segments, start, end) as never, init);
  }
  const asked = range === undefined ? {} : { range: `bytes=${part.start}-${part.start + part.size - 1}` };
  const url = `http://objects/${pathOf(part.file)}`;
  const response = await store.sendFile(new Request(url, { headers: asked }));
  if (response.status !== status) throw new Error(`the file ${part.file} gets the status ${response.status}`);
  for (const [name, value] of Object.entries(fields)) response.headers.set(name, value);
  return response;
}

export async function putObject(call: Call): Promise<Response> {
  const { request, store, bucket, key } = call;
  const fields = conditions.objectFieldsOf(request.headers);
  const condition = conditions.putConditionOf(request.headers);
  const body = new IncomingBody(call, LIMITS.putBytes);
  const segment = await store.files.receive(body.pieces(), (length) => body.verify(length));
  const checksums = body.checksumFields();
  if (body.checksums.size > 0) checksums["x-amz-checksum-type"] = "FULL_OBJECT";
  const content = { size: segment.size, etag: body.md5, segments: [segment], fields: { ...fields, ...checksums } };
  const object = { key, modified: Date.now(), ...content };
  await commit(call, [segment], () => store.metadata.putObject(bucket, object, condition, call.requestId));
  return new Response(null, { headers: { etag: `"${body.md5}"`, ...checksums } });
}

/**
 * Runs a transaction that refers to new files, and removes the files if the transaction was certainly rolled back. If that is unknown, for
 * example because the database was lost, the sweep removes them.
 */
export async function commit(call: Call, segments: Segment[], write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (error instanceof S3Error) await call.store.files.remove(segments.map(({ file }) => file));
    throw error;
  }
}

export async function copyObject(call: Call): Promise<Response> {
  const { request, store, bucket, key } = call;
  const { headers } = request;
  const from = copySourceOf(headers);
  const replaces = headers.get("x-amz-metadata-directive") === "REPLACE";
  const isOther = from.bucket !== bucket || from.key !== key;
  demand(isOther || replaces, "InvalidRequest", "A copy of an object onto itself must replace its metadata");
  const given = conditions.objectFieldsOf(headers);
  const condition = conditions.putConditionOf(headers);
  const source = await findObject(call, from.bucket, from.key);
  conditions.checkConditions(headers, source, "x-amz-copy-source-");
  demand(source.size <= LIMITS.putBytes, "InvalidRequest", "Copy objects of more than 5 GiB in parts");
  const fields = replaces ? { ...given, ...conditions.checksumsOf(source.fields) } : source.fields;
  const segments = await store.files.link(source.segments);
  const modified = Date.now();
  const object = { ...source, key, modified, segments, fields };
  await commit(call, segments, () => store.metadata.putObject(bucket, object, condition, call.requestId));
  const content = { LastModified: isoTime(modified), ETag: `"${source.etag}"`, ...checksumElements(fields) };
  return xmlResponse("CopyObjectResult", content);
}

/** `x-amz-checksum-crc32` as the element ChecksumCRC32. */
export function checksumElements(fields: Fields): Fields {
  const elements = Object.entries(conditions.checksumsOf(fields)).map(([name, value]) => {
    const algorithm = name.slice("x-amz-checksum-".length);
    return [algorithm === "type" ? "ChecksumType" : `Checksum${algorithm.toUpperCase()}`, value];
  });
  return Object.fromEntries(elements);
}

/** @throws S3Error InvalidArgument */
export function copySourceOf(headers: Headers): { bucket: string; key: string } {
  const [path = "", query] = (headers.get("x-amz-copy-source") ?? "").replace(/^\//, "").split("?");
  demand(query === undefined || query === "versionId=null", "NotImplemented", "There are no versions");
  const [, bucket = "", key = ""] = /^([^/]+)\/(.+)$/s.exec(decodeUri(path)) ?? [];
  demand(key !== "", "InvalidArgument", "x-amz-copy-source must have the form BUCKET/KEY");
  return { bucket, key };
}

export async function deleteObject(call: Call): Promise<Response> {
  const { store, bucket, key, request } = call;
  const fields = ["if-match", "x-amz-if-match-size", "x-amz-if-match-last-modified-time"] as const;
  const [etag, size, modified] = fields.map((name) => request.headers.get(name));
  const condition = conditions.deleteConditionOf(etag, size, modified);
  await store.metadata.deleteObjects(bucket, [key], Date.now(), condition);
  return new Response(null, { status: 204 });
}

export async function deleteObjects(call: Call): Promise<Response> {
  const { store, bucket } = call;
  const document = await readXmlBody(call, "Delete");
  const deletions = conditions.deletionsOf(document);
  const now = Date.now();
  const plain = deletions.filter(({ condition, failure }) => condition === undefined && failure === undefined);
  const keys = plain.map(({ key }) => key);
  await store.metadata.deleteObjects(bucket, keys, now);
  // Each condition applies to one key.
  for (const deletion of deletions) {
    if (deletion.condition === undefined) continue;
    await store.metadata.deleteObjects(bucket, [deletion.key], now, deletion.condition).catch((error) => {
      if (!(error instanceof S3Error)) throw error;
      deletion.failure = error;
    });
  }
  const done = deletions.filter(({ failure }) => failure === undefined);
  const failed = deletions.filter(({ failure }) => failure !== undefined);
  return xmlResponse("DeleteResult", {
    Deleted: textOf(document, "Quiet") === "true" ? undefined : done.map(({ key }) => ({ Key: key })),
    Error: failed.map(({ key, failure }) => ({ Key: key, Code: failure?.code, Message: failure?.message })),
  });
}
