/** Uploads in parts: begun, filled part by part in any order and over any instance, completed or aborted. */
import { createHash } from "node:crypto";
import { IncomingBody, readXmlBody } from "./body.ts";
import { type Call, isoTime, requireBucket, xmlResponse } from "./call.ts";
import {
  type Algorithm,
  algorithmOf,
  compositeChecksum,
  digestOf,
  fieldOf,
  fullChecksum,
  isCrc,
  type PartChecksum,
} from "./checksums.ts";
import { checkConditions, copyRangeOf, objectFieldsOf, putConditionOf } from "./conditions.ts";
import { S3Error } from "./errors.ts";
import { slice } from "./files.ts";
import { behindPrefix } from "./listing.ts";
import type { Fields, Part, StoredObject, Upload } from "./metadata.ts";
import { checksumElements, commit, copySourceOf, findObject } from "./objects.ts";
import { LIMITS } from "./settings.ts";
import { encodePath } from "./uri.ts";
import { childrenOf, textOf, type XmlElement } from "./xml.ts";

/** Fields of an upload that its object does not get. */
const ALGORITHM_FIELD = "x-amz-checksum-algorithm";
const TYPE_FIELD = "x-amz-checksum-type";
/** How often the list of parts is read again because another part has come meanwhile. */
const MAX_TRIES = 5;

export async function createUpload(call: Call): Promise<Response> {
  const { request, store, bucket, key } = call;
  const fields = objectFieldsOf(request.headers);
  const stated: Fields = {};
  const name = request.headers.get(ALGORITHM_FIELD);
  if (name !== null) {
    const algorithm = algorithmOf(name);
    const type = request.headers.get(TYPE_FIELD) ?? (algorithm === "CRC64NVME" ? "FULL_OBJECT" : "COMPOSITE");
    if (type === "FULL_OBJECT" ? !isCrc(algorithm) : type !== "COMPOSITE" || algorithm === "CRC64NVME") {
      throw new S3Error("InvalidRequest", `The checksum type ${type} cannot be used with ${algorithm}`);
    }
    stated[ALGORITHM_FIELD] = algorithm;
    stated[TYPE_FIELD] = type;
  }
  await requireBucket(call);
  const id = await store.metadata.createUpload(bucket, key, { ...fields, ...stated }, Date.now());
  return xmlResponse("InitiateMultipartUploadResult", { Bucket: bucket, Key: key, UploadId: id }, stated);
}

/** @throws S3Error NoSuchUpload */
async function findUpload({ store, bucket, key, query }: Call): Promise<Upload> {
  const upload = await store.metadata.upload(query.get("uploadId") ?? "");
  if (upload?.bucket !== bucket || upload.key !== key) throw new S3Error("NoSuchUpload");
  return upload;
}

function partNumberOf({ query }: Call): number {
  const text = query.get("partNumber") ?? "";
  const number = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= LIMITS.parts) return number;
  throw new S3Error("InvalidArgument", `Part number must be an integer between 1 and ${LIMITS.parts}`);
}

export async function uploadPart(call: Call): Promise<Response> {
  const { store } = call;
  const number = partNumberOf(call);
  const upload = await findUpload(call);
  const algorithm = upload.fields[ALGORITHM_FIELD] as Algorithm | undefined;
  const body = new IncomingBody(call, LIMITS.putBytes, algorithm);
  const { file, size } = await store.files.receive(body.pieces(), (length) => body.verify(length));
  const checksum = algorithm && body.checksums.get(algorithm);
  const segments = [{ file, start: 0, size }];
  const part = { number, size, etag: body.md5, modified: Date.now(), checksum, segments };
  await commit(call, [file], () => store.metadata.putPart(upload.id, part, part.modified));
  return new Response(null, { headers: { etag: `"${part.etag}"`, ...body.checksumFields() } });
}

/** A part from another object, or from a range of it: linked, and read once for its checksums. */
export async function copyPart(call: Call): Promise<Response> {
  const { store, request } = call;
  const { headers } = request;
  const number = partNumberOf(call);
  const upload = await findUpload(call);
  const from = copySourceOf(headers);
  const source = await findObject(call, from.bucket, from.key);
  checkConditions((name) => headers.get(name), source, "x-amz-copy-source-");
  const { start, end } = copyRangeOf(headers.get("x-amz-copy-source-range"), source.size);
  if (end - start > LIMITS.putBytes) throw new S3Error("EntityTooLarge");
  const algorithm = upload.fields[ALGORITHM_FIELD] as Algorithm | undefined;
  const md5 = createHash("md5");
  const digest = algorithm && digestOf(algorithm);
  const segments = await store.files.link(slice(source.segments, start, end));
  for await (const block of store.files.read(segments, 0, end - start)) {
    md5.update(block);
    digest?.update(block);
  }
  const checksum = digest?.digest().toString("base64");
  const part = { number, size: end - start, etag: md5.digest("hex"), modified: Date.now(), checksum, segments };
  const files = segments.map(({ file }) => file);
  await commit(call, files, () => store.metadata.putPart(upload.id, part, part.modified));
  const checksums = algorithm && checksum ? checksumElements({ [fieldOf(algorithm)]: checksum }) : {};
  const content = { LastModified: isoTime(part.modified), ETag: `"${part.etag}"`, ...checksums };
  return xmlResponse("CopyPartResult", content);
}

export async function completeUpload(call: Call): Promise<Response> {
  const { store, request } = call;
  await findUpload(call);
  const condition = putConditionOf((name) => request.headers.get(name));
  const wanted = childrenOf(await readXmlBody(call, "CompleteMultipartUpload"), "Part");
  if (wanted.length === 0 || wanted.length > LIMITS.parts) throw new S3Error("MalformedXML");
  for (let tries = 1; ; tries++) {
    const upload = await findUpload(call);
    // A client that did not hear of its success asks again.
    if (upload.result !== undefined) return completed(call, upload.result);
    const stored = await store.metadata.parts(upload.id);
    // The parts are those of this upload's state: another request may have completed, aborted or changed it meanwhile.
    const { revision, result } = await findUpload(call);
    if (result !== undefined || revision !== upload.revision) {
      if (tries === MAX_TRIES) throw new S3Error("OperationAborted");
      continue;
    }
    const parts = chooseParts(wanted, stored);
    const now = Date.now();
    const object = objectOf(upload, parts, now);
    checkWhole(object, request.headers);
    const used = new Set(parts.map(({ number }) => number));
    const unused = stored.map(({ number }) => number).filter((number) => !used.has(number));
    try {
      await store.metadata.completeUpload(upload, object, unused, condition, now);
      return completed(call, object);
    } catch (error) {
      const isChanged = error instanceof S3Error && error.code === "OperationAborted";
      if (!isChanged || tries === MAX_TRIES) throw error;
    }
  }
}

function completed({ bucket, key, request }: Call, { etag, fields }: { etag: string; fields: Fields }): Response {
  const host = request.headers.get("host") ?? "localhost";
  const location = `http://${host}/${bucket}/${encodePath(key)}`;
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
    if (!(number > last)) throw new S3Error("InvalidPartOrder");
    last = number;
    if (
      part === undefined ||
      textOf(element, "ETag")
        ?.trim()
        .replace(/^"(.*)"$/, "$1") !== part.etag
    ) {
      throw new S3Error("InvalidPart");
    }
    const checksum = element.children.find(({ name }) => name.startsWith("Checksum"))?.text.trim();
    if (checksum !== undefined && part.checksum !== undefined && checksum !== part.checksum) {
      throw new S3Error("InvalidPart");
    }
    if (part.size < LIMITS.partBytes && index < wanted.length - 1) throw new S3Error("EntityTooSmall");
    return part;
  });
}

export function objectOf(upload: Pick<Upload, "fields" | "key">, parts: Part[], now: number): StoredObject {
  const { [ALGORITHM_FIELD]: name, [TYPE_FIELD]: type, ...fields } = upload.fields;
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  if (size > LIMITS.objectBytes) throw new S3Error("EntityTooLarge");
  const md5 = createHash("md5");
  for (const { etag } of parts) md5.update(Buffer.from(etag, "hex"));
  const etag = `${md5.digest("hex")}-${parts.length}`;
  if (name !== undefined && type !== undefined) {
    const algorithm = algorithmOf(name);
    const each = parts as unknown as PartChecksum[];
    const isFull = type === "FULL_OBJECT" && isCrc(algorithm);
    fields[fieldOf(algorithm)] = isFull ? fullChecksum(algorithm, each) : compositeChecksum(algorithm, each);
    fields[TYPE_FIELD] = type;
  }
  const segments = parts.flatMap((part) => part.segments);
  return { key: upload.key, size, etag, modified: now, segments, fields };
}

/** What the client states of the whole object. */
function checkWhole({ size, fields }: StoredObject, headers: Headers): void {
  const stated = headers.get("x-amz-mp-object-size");
  if (stated !== null && Number(stated) !== size) throw new S3Error("InvalidRequest", "The object has another size");
  for (const [name, value] of Object.entries(fields)) {
    if (!name.startsWith("x-amz-checksum-") || name === TYPE_FIELD) continue;
    const expected = headers.get(name);
    // Some clients leave out the number of parts.
    if (expected !== null && expected !== value && expected !== value.split("-")[0]) throw new S3Error("BadDigest");
  }
}

export async function abortUpload(call: Call): Promise<Response> {
  const { id } = await findUpload(call);
  await call.store.metadata.abortUpload(id, Date.now());
  return new Response(null, { status: 204 });
}

export async function listParts(call: Call): Promise<Response> {
  const { store, bucket, key, query } = call;
  const { id, result, fields } = await findUpload(call);
  if (result !== undefined) throw new S3Error("NoSuchUpload");
  const most = query.number("max-parts", LIMITS.listed, 1, LIMITS.listed);
  const after = query.number("part-number-marker", 0, 0, LIMITS.parts);
  const parts = await store.metadata.parts(id, after, most + 1);
  const page = parts.slice(0, most);
  const algorithm = fields[ALGORITHM_FIELD];
  return xmlResponse("ListPartsResult", {
    ...{ Bucket: bucket, Key: key, UploadId: id, StorageClass: "STANDARD" },
    ...(algorithm === undefined ? {} : { ChecksumAlgorithm: algorithm, ChecksumType: fields[TYPE_FIELD] }),
    ...{ PartNumberMarker: after, NextPartNumberMarker: page.at(-1)?.number ?? after },
    ...{ MaxParts: most, IsTruncated: parts.length > most },
    Part: page.map(({ number, modified, etag, size, checksum }) => ({
      ...{ PartNumber: number, LastModified: isoTime(modified), ETag: `"${etag}"`, Size: size },
      ...(algorithm && checksum ? { [`Checksum${algorithm}`]: checksum } : {}),
    })),
  });
}

export async function listUploads(call: Call): Promise<Response> {
  const { store, bucket, query } = call;
  await requireBucket(call);
  const prefix = query.get("prefix") ?? "";
  const most = query.number("max-uploads", LIMITS.listed, 1, LIMITS.listed);
  const keyMarker = query.get("key-marker") ?? "";
  const idMarker = query.get("upload-id-marker") ?? "";
  // Without an id, all uploads of the key itself are passed over.
  const after: [string, string] = [keyMarker, keyMarker !== "" && idMarker === "" ? "~" : idMarker];
  const uploads = await store.metadata.uploads(bucket, prefix, behindPrefix(prefix), after, most + 1);
  const page = uploads.slice(0, most);
  const isTruncated = uploads.length > most;
  const encode = query.get("encoding-type") === "url" ? encodePath : (text: string) => text;
  const last = page.at(-1);
  return xmlResponse("ListMultipartUploadsResult", {
    ...{ Bucket: bucket, KeyMarker: encode(keyMarker), UploadIdMarker: idMarker, Prefix: encode(prefix) },
    EncodingType: query.get("encoding-type"),
    ...(isTruncated && last ? { NextKeyMarker: encode(last.key), NextUploadIdMarker: last.id } : {}),
    ...{ MaxUploads: most, IsTruncated: isTruncated },
    Upload: page.map(({ id, key, created }) => ({
      ...{ Key: encode(key), UploadId: id, StorageClass: "STANDARD", Initiated: isoTime(created) },
    })),
  });
}
