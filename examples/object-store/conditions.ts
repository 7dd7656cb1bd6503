/** Parses a request: conditions, a range, and the fields that an object is to have. Pure. */
import { S3Error } from "./errors.ts";
import type { DeleteCondition, Fields, ObjectEntry, PutCondition } from "./metadata.ts";
import { LIMITS } from "./settings.ts";
import { childrenOf, type XmlElement } from "./xml.ts";

type FieldReader = (name: string) => string | null;

/**
 * Conditions in the order of RFC 9110 §13.2.2, by the object's strong ETag.
 *
 * @param prefix of the fields: those of a copy's source are named `x-amz-copy-source-if-match` and so on.
 * @throws S3Error NotModified or PreconditionFailed
 */
export function checkConditions(field: FieldReader, object: ObjectEntry, prefix = ""): void {
  const seconds = Math.floor(object.modified / 1000) * 1000;
  const ifMatch = field(`${prefix}if-match`);
  const ifNoneMatch = field(`${prefix}if-none-match`);
  const unmodifiedSince = timeOf(field(`${prefix}if-unmodified-since`));
  const modifiedSince = timeOf(field(`${prefix}if-modified-since`));
  if (ifMatch !== null) {
    if (!matches(ifMatch, object.etag)) throw new S3Error("PreconditionFailed");
  } else if (seconds > unmodifiedSince) throw new S3Error("PreconditionFailed");
  const isSame = ifNoneMatch !== null ? matches(ifNoneMatch, object.etag) : seconds <= modifiedSince;
  if (!isSame) return;
  if (prefix !== "") throw new S3Error("PreconditionFailed");
  const lastModified = new Date(object.modified).toUTCString();
  throw new S3Error("NotModified", undefined, { etag: `"${object.etag}"`, "last-modified": lastModified });
}

function matches(list: string, etag: string): boolean {
  return list.split(",").some((each) => ["*", etag].includes(each.trim().replace(/^(?:W\/)?"(.*)"$/, "$1")));
}

/** NaN, with which every comparison is false, for a date that is missing or not valid. */
function timeOf(date: string | null): number {
  return date === null ? Number.NaN : Date.parse(date);
}

/** @throws S3Error NotImplemented for conditions that a put cannot have */
export function putConditionOf(field: FieldReader): PutCondition {
  const ifMatch = field("if-match");
  const ifNoneMatch = field("if-none-match");
  if (ifNoneMatch !== null) {
    if (ifNoneMatch !== "*" || ifMatch !== null) throw new S3Error("NotImplemented", "A put takes If-None-Match: *");
    return { kind: "absent" };
  }
  return ifMatch === null ? undefined : { kind: "etag", etag: ifMatch.replace(/^"(.*)"$/, "$1") };
}

/** The conditions of a delete in a request. @throws S3Error InvalidArgument */
export function deleteConditionOf(field: FieldReader): DeleteCondition | undefined {
  const [etag, size, modified] = ["if-match", "x-amz-if-match-size", "x-amz-if-match-last-modified-time"].map(field);
  return deleteCondition(etag, size, modified);
}

export interface Deletion {
  key: string;
  condition?: DeleteCondition | undefined;
  /** Why this key cannot be deleted. */
  failure?: S3Error;
}

/** What a DeleteObjects asks for. @throws S3Error MalformedXML, also for elements whose meaning is unknown */
export function deletionsOf(document: XmlElement): Deletion[] {
  const objects = childrenOf(document, "Object");
  if (objects.length === 0 || objects.length > LIMITS.deleted) throw new S3Error("MalformedXML");
  return objects.map(({ children }) => {
    const values = new Map(children.map(({ name, text }) => [name, text]));
    const isKnown = [...values.keys()].every((name) => DELETION_ELEMENTS.includes(name));
    const key = values.get("Key") ?? "";
    if (key === "" || !isKnown || values.size < children.length) throw new S3Error("MalformedXML");
    if ((values.get("VersionId") ?? "null") !== "null") return { key, failure: new S3Error("NoSuchVersion") };
    return { key, condition: deleteCondition(values.get("ETag"), values.get("Size"), values.get("LastModifiedTime")) };
  });
}

const DELETION_ELEMENTS = ["Key", "VersionId", "ETag", "Size", "LastModifiedTime"];

type Stated = string | null | undefined;

function deleteCondition(etag: Stated, size: Stated, modified: Stated): DeleteCondition | undefined {
  const condition: DeleteCondition = {};
  if (etag != null && etag.trim() !== "*") condition.etag = etag.trim().replace(/^"(.*)"$/, "$1");
  if (size != null) condition.size = /^\d{1,15}$/.test(size) ? Number(size) : Number.NaN;
  if (modified != null) condition.modified = Math.floor(Date.parse(modified) / 1000) * 1000;
  if (Number.isNaN(condition.size) || Number.isNaN(condition.modified)) throw new S3Error("InvalidArgument");
  return Object.keys(condition).length === 0 ? undefined : condition;
}

/**
 * Returns the bytes that are asked for, `end` excluded; undefined for all of them. S3 has no responses of several ranges, and
 * ignores a field that is not valid.
 *
 * @throws S3Error InvalidRange
 */
export function rangeOf(text: string | null, size: number): { start: number; end: number } | undefined {
  const found = /^bytes=(\d*)-(\d*)$/.exec(text?.trim() ?? "");
  if (found === null || (found[1] === "" && found[2] === "")) return undefined;
  const [, first = "", last = ""] = found;
  const start = first === "" ? Math.max(size - Number(last), 0) : Number(first);
  const end = first === "" || last === "" ? size : Math.min(Number(last) + 1, size);
  if (first !== "" && last !== "" && Number(last) < Number(first)) return undefined;
  if (start >= end) throw new S3Error("InvalidRange", undefined, { "content-range": `bytes */${size}` });
  return { start, end };
}

/** The range of a copied part has two ends, both within the source. @throws S3Error InvalidArgument */
export function copyRangeOf(text: string | null, size: number): { start: number; end: number } {
  if (text === null) return { start: 0, end: size };
  const [, first, last] = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(text.trim()) ?? [];
  const [start, end] = [Number(first), Number(last) + 1];
  if (start < end && end <= size) return { start, end };
  throw new S3Error("InvalidArgument", `The copy source range must be bytes=FIRST-LAST within ${size} bytes`);
}

/** If-Range: the range counts only for this version of the object. */
export function isRangeMeant(ifRange: string | null, object: ObjectEntry): boolean {
  if (ifRange === null) return true;
  if (ifRange.startsWith('"')) return ifRange === `"${object.etag}"`;
  return Date.parse(ifRange) === Math.floor(object.modified / 1000) * 1000;
}

const CONTENT_FIELDS = ["cache-control", "content-disposition", "content-language", "expires"];

/** The fields that a put gives its object. @throws S3Error for fields that are too long */
export function objectFieldsOf(headers: Headers): Fields {
  const fields: Fields = { "content-type": headers.get("content-type") || "binary/octet-stream" };
  for (const name of CONTENT_FIELDS) {
    const value = headers.get(name);
    if (value !== null) fields[name] = value;
  }
  const codings = (headers.get("content-encoding") ?? "").split(",").map((coding) => coding.trim());
  const coding = codings.filter((each) => each !== "" && each !== "aws-chunked").join(", ");
  if (coding !== "") fields["content-encoding"] = coding;
  let bytes = 0;
  for (const [name, value] of headers) {
    if (!name.startsWith("x-amz-meta-")) continue;
    fields[name] = value;
    bytes += name.length - "x-amz-meta-".length + Buffer.byteLength(value);
  }
  if (bytes > LIMITS.userMetadataBytes) throw new S3Error("MetadataTooLarge");
  return fields;
}

/** Without the checksum of an object, which belongs to its bytes. */
export function withoutChecksums(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !isChecksumField(name)));
}

export function checksumsOf(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => isChecksumField(name)));
}

function isChecksumField(name: string): boolean {
  return name.startsWith("x-amz-checksum-");
}
