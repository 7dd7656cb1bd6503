/** Multipart uploads: created, filled part by part in any order and over any instance, completed or aborted. */
import { createHash } from "node:crypto";
import { IncomingBody, readXmlBody } from "./body.ts";
import { encoderOf } from "./buckets.ts";
import { type Call, isoTime, xmlResponse } from "./call.ts";
import * as checksums from "./checksums.ts";
import { checkConditions, copyRangeOf, objectFieldsOf, putConditionOf, unquoted } from "./conditions.ts";
import { demand } from "./errors.ts";
import { slice } from "./files.ts";
import { checksumElements, commit, copySourceOf, findObject } from "./objects.ts";
import type { Fields, Part, Segment, StoredObject, Upload } from "./schema.ts";
import { LIMITS } from "./settings.ts";
import { numberIn } from "./uri.ts";
import { childrenOf, textOf, type XmlElement } from "./xml.ts";

/** Fields of an upload that its object does not get. */
const ALGORITHM_FIELD = "x-amz-checksum-algorithm";
const TYPE_FIELD = "x-amz-checksum-type";
/** How often the list of parts is read again because another part was added in the meantime. */
const MAX_TRIES = 5;

export async function createUpload(call: Call): Promise<Response> {
  const { request, store, bucket, key } = call;
  const fields = objectFieldsOf(request.headers);
  const stated: Fields = {};
  const name = request.headers.get(ALGORITHM_FIELD);
  if (name !== null) {
    const algorithm = checksums.algorithmOf(name);
    const types = checksums.typesOf(algorithm);
    const type = request.headers.get(TYPE_FIELD) ?? types[0] ?? "";
    demand(types.includes(type), "InvalidRequest", `The checksum type ${type} cannot be used with ${algorithm}`);
    Object.assign(stated, { [ALGORITHM_FIELD]: algorithm, [TYPE_FIELD]: type });
  }
  const id = await store.metadata.createUpload(bucket, key, { ...fields, ...stated }, Date.now());
  return xmlResponse("InitiateMultipartUploadResult", { Bucket: bucket, Key: key, UploadId: id }, stated);
}

/** @throws S3Error NoSuchUpload */
async function findUpload({ store, bucket, key, query }: Call): Promise<Upload> {
  const upload = await store.metadata.upload(query.get("uploadId") ?? "");
  demand(upload?.bucket === bucket && upload.key === key, "NoSuchUpload");
  return upload;
}

/**
 * What a request for one part names.
 * @throws S3Error
 */
async function partOf(call: Call) {
  const text = call.query.get("partNumber") ?? "";
  const number = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  const isGood = number >= 1 && number <= LIMITS.parts;
  demand(isGood, "InvalidArgument", `Part number must be an integer between 1 and ${LIMITS.parts}`);
  const upload = await findUpload(call);
  return { number, upload, algorithm: upload.fields[ALGORITHM_FIELD] as checksums.Algorithm | undefined };
}

export async function uploadPart(call: Call): Promise<Response> {
  const { store } = call;
  const { number, upload, algorithm } = await partOf(call);
  const body = new IncomingBody(call, LIMITS.putBytes, algorithm);
  const segment = await store.files.receive(body.pieces(), (length) => body.verify(length));
  const checksum = algorithm && body.checksums.get(algorithm);
  const part = { number, size: segment.size, etag: body.md5, modified: Date.now(), checksum, segments: [segment] };
  await commit(call, [segment], () => store.metadata.putPart(upload.id, part));
  return new Response(null, { headers: { etag: `"${body.md5}"`, ...body.checksumFields() } });
}

/** A part from another object, or from a range of it: linked, and read once for its checksums. */
export async function copyPart(call: Call): Promise<Response> {
  const { store, request } = call;
  const { headers } = request;
  const { number, upload, algorithm } = await partOf(call);
  const from = copySourceOf(headers);
  const source = await findObject(call, from.bucket, from.key);
  checkConditions(headers, source, "x-amz-copy-source-");
  const { start, end } = copyRangeOf(headers.get("x-amz-copy-source-range"), source.size);
  const size = end - start;
  demand(size <= LIMITS.putBytes, "EntityTooLarge");
  const md5 = createHash("md5");
  const digest = algorithm && checksums.digestOf(algorithm);
  const segments = await store.files.link(slice(source.segments, start, end));
  for await (const block of store.files.read(segments, 0, size)) {
    md5.update(block);
    digest?.update(block);
  }
  const [etag, checksum] = [md5.digest("hex"), digest?.digest().toString("base64")];
  const modified = Date.now();
  const part = { number, size, etag, modified, checksum, segments };
  await commit(call, segments, () => store.metadata.putPart(upload.id, part));
  const content = { LastModified: isoTime(modified), ETag: `"${etag}"`, ...partChecksum(upload, checksum) };
  return xmlResponse("CopyPartResult", content);
}

const partChecksum = ({ fields }: Upload, checksum: string | undefined): Fields =>
  checksum === undefined ? {} : { [`Checksum${fields[ALGORITHM_FIELD]}`]: checksum };

export async function completeUpload(call: Call): Promise<Response> {
  const { store, request } = call;
  await findUpload(call);
  const condition = putConditionOf(request.headers);
  const wanted = childrenOf(await readXmlBody(call, "CompleteMultipartUpload"), "Part");
  demand(wanted.length > 0 && wanted.length <= LIMITS.parts, "MalformedXML");
  for (let tries = 1; ; tries++) {
    const upload = await findUpload(call);
    // A client that did not get the response about its success asks again.
    if (upload.result !== undefined) return completed(call, upload.result);
    try {
      const stored = await store.metadata.parts(upload.id);
      const parts = chooseParts(wanted, stored);
      const object = objectOf(upload, parts, Date.now());
      checkWhole(object, request.headers);
      const used = new Set(parts);
      const unused = stored.filter((part) => !used.has(part)).map(({ number }) => number);
      await store.metadata.completeUpload(upload, object, unused, condition);
      return completed(call, object);
    } catch (error) {
      // Another request may have completed, aborted or changed the upload in the meantime: then this error came from a mixture of both.
      const { revision, result } = await findUpload(call);
      if (tries === MAX_TRIES || (revision === upload.revision && result === undefined)) throw error;
    }
  }
}

function completed({ bucket, key, request }: Call, { etag, fields }: { etag: string; fields: Fields }): Response {
  const [location] = request.url.split("?");
  const content = { Location: location, Bucket: bucket, Key: key, ETag: `"${etag}"`, ...checksumElements(fields) };
  return xmlResponse("CompleteMultipartUploadResult", content);
}

/** @throws S3Error unless the client's list names stored parts, in order and long enough */
export function chooseParts(wanted: XmlElement[], stored: Part[]): Part[] {
  const byNumber = new Map(stored.map((part) => [part.number, part]));
  let last = 0;
  return wanted.map((element, index) => {
    const number = Number(textOf(element, "PartNumber"));
    const part = byNumber.get(number);
    demand(number > last, "InvalidPartOrder");
    last = number;
    demand(part !== undefined && unquoted(textOf(element, "ETag") ?? "") === part.etag, "InvalidPart");
    const checksum = element.children.find(({ name }) => name.startsWith("Checksum"))?.text.trim() ?? part.checksum;
    demand(part.checksum === undefined || checksum === part.checksum, "InvalidPart");
    demand(part.size >= LIMITS.partBytes || index === wanted.length - 1, "EntityTooSmall");
    return part;
  });
}

export function objectOf(upload: Pick<Upload, "fields" | "key">, parts: Part[], now: number): StoredObject {
  const { [ALGORITHM_FIELD]: name, [TYPE_FIELD]: type, ...fields } = upload.fields;
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  demand(size <= LIMITS.objectBytes, "EntityTooLarge");
  const md5 = createHash("md5");
  for (const { etag } of parts) md5.update(Buffer.from(etag, "hex"));
  const etag = `${md5.digest("hex")}-${parts.length}`;
  if (name !== undefined && type !== undefined) {
    const algorithm = checksums.algorithmOf(name);
    const each = parts.map(({ checksum = "", size }) => ({ checksum, size }));
    const isFull = type === "FULL_OBJECT" && checksums.isCrc(algorithm);
    const combine = isFull ? checksums.fullChecksum : checksums.compositeChecksum;
    Object.assign(fields, { [checksums.fieldOf(algorithm)]: combine(algorithm as never, each), [TYPE_FIELD]: type });
  }
  const segments: Segment[] = parts.flatMap((part) => part.segments);
  return { key: upload.key, size, etag, modified: now, segments, fields };
}

/** Checks what the client states about the whole object. */
function checkWhole({ size, fields }: StoredObject, headers: Headers): void {
  const stated = headers.get("x-amz-mp-object-size");
  demand(stated === null || Number(stated) === size, "InvalidRequest", "The object has another size");
  for (const [name, value] of Object.entries(fields)) {
    if (!name.startsWith("x-amz-checksum-") || name === TYPE_FIELD) continue;
    // Some clients leave out the number of parts.
    demand([null, value, value.split("-")[0]].includes(headers.get(name)), "BadDigest");
  }
}

export async function abortUpload(call: Call): Promise<Response> {
  const { id } = await findUpload(call);
  await call.store.metadata.abortUpload(id, Date.now());
  return new Response(null, { status: 204 });
}

export async function listParts(call: Call): Promise<Response> {
  const { store, bucket, key, query } = call;
  const upload = await findUpload(call);
  const { id, result, fields } = upload;
  demand(result === undefined, "NoSuchUpload");
  const most = numberIn(query, "max-parts", LIMITS.listed, 1, LIMITS.listed);
  const after = numberIn(query, "part-number-marker", 0, 0, LIMITS.parts);
  const parts = await store.metadata.parts(id, after, most + 1);
  const page = parts.slice(0, most);
  return xmlResponse("ListPartsResult", {
    ...{ Bucket: bucket, Key: key, UploadId: id, StorageClass: "STANDARD" },
    ...{ ChecksumAlgorithm: fields[ALGORITHM_FIELD], ChecksumType: fields[TYPE_FIELD] },
    ...{ PartNumberMarker: after, NextPartNumberMarker: page.at(-1)?.number ?? after },
    ...{ MaxParts: most, IsTruncated: parts.length > most },
    Part: page.map(({ number, modified, etag, size, checksum }) => ({
      ...{ PartNumber: number, LastModified: isoTime(modified), ETag: `"${etag}"`, Size: size },
      ...partChecksum(upload, checksum),
    })),
  });
}

export async function listUploads(call: Call): Promise<Response> {
  const { store, bucket, query } = call;
  const encode = encoderOf(call);
  const prefix = query.get("prefix") ?? "";
  const most = numberIn(query, "max-uploads", LIMITS.listed, 1, LIMITS.listed);
  const keyMarker = query.get("key-marker") ?? "";
  const idMarker = query.get("upload-id-marker") ?? "";
  // Without an id, all uploads of the key itself are skipped.
  const after: [string, string] = [keyMarker, keyMarker !== "" && idMarker === "" ? "~" : idMarker];
  const uploads = await store.metadata.uploads(bucket, prefix, after, most + 1);
  const page = uploads.slice(0, most);
  const next = uploads.length > most ? page.at(-1) : undefined;
  return xmlResponse("ListMultipartUploadsResult", {
    ...{ Bucket: bucket, KeyMarker: encode(keyMarker), UploadIdMarker: idMarker, Prefix: encode(prefix) },
    ...{ EncodingType: query.get("encoding-type"), MaxUploads: most, IsTruncated: next !== undefined },
    ...{ NextKeyMarker: next && encode(next.key), NextUploadIdMarker: next?.id },
    Upload: page.map(({ id, key, created }) => ({
      ...{ Key: encode(key), UploadId: id, StorageClass: "STANDARD", Initiated: isoTime(created) },
    })),
  });
}
