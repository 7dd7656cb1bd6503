/** Parses a request: conditions, a range, and the fields that an object gets. Pure. */
import { demand, S3Error } from "./errors.ts";
import type { DeleteCondition, Fields, ObjectEntry, PutCondition } from "./schema.ts";
import { LIMITS } from "./settings.ts";
import { childrenOf, type XmlElement } from "./xml.ts";

/**
 * Conditions in the order of RFC 9110, section 13.2.2, with the object's strong ETag.
 * @param prefix of the fields: for the source of a copy they are named `x-amz-copy-source-if-match` and so on
 * @throws S3Error NotModified or PreconditionFailed
 */
export function checkConditions(headers: Headers, object: ObjectEntry, prefix = ""): void {
  const seconds = Math.floor(object.modified / 1000) * 1000;
  const field = (name: string) => headers.get(prefix + name);
  // NaN for a missing or invalid date: every comparison with NaN is false.
  const time = (name: string) => Date.parse(field(name) ?? "");
  const [ifMatch, ifNoneMatch] = [field("if-match"), field("if-none-match")];
  const isWanted = ifMatch !== null ? matches(ifMatch, object.etag) : !(seconds > time("if-unmodified-since"));
  demand(isWanted, "PreconditionFailed");
  const isSame = ifNoneMatch !== null ? matches(ifNoneMatch, object.etag) : seconds <= time("if-modified-since");
  if (!isSame) return;
  demand(prefix === "", "PreconditionFailed");
  const lastModified = new Date(object.modified).toUTCString();
  throw new S3Error("NotModified", undefined, { etag: `"${object.etag}"`, "last-modified": lastModified });
}

const matches = (list: string, etag: string) =>
  list.split(",").some((each) => ["*", etag].includes(each.trim().replace(/^(?:W\/)?"(.*)"$/, "$1")));

/** @throws S3Error NotImplemented for conditions that a put cannot have */
export function putConditionOf(headers: Headers): PutCondition {
  const [ifMatch, ifNoneMatch] = [headers.get("if-match"), headers.get("if-none-match")];
  if (ifNoneMatch === null) return ifMatch === null ? undefined : { etag: unquoted(ifMatch) };
  if (ifNoneMatch === "*" && ifMatch === null) return "absent";
  throw new S3Error("NotImplemented", "A put takes If-None-Match: *");
}

export const unquoted = (etag: string) => etag.trim().replace(/^"(.*)"$/, "$1");

export interface Deletion {
  key: string;
  condition?: DeleteCondition | undefined;
  /** Why this key cannot be deleted. */
  failure?: S3Error;
}

/**
 * What a DeleteObjects request asks for.
 * @throws S3Error MalformedXML, also for elements whose meaning is unknown
 */
export function deletionsOf(document: XmlElement): Deletion[] {
  const objects = childrenOf(document, "Object");
  demand(objects.length > 0 && objects.length <= LIMITS.listed, "MalformedXML");
  return objects.map(({ children }) => {
    const values = new Map(children.map(({ name, text }) => [name, text]));
    const [etag, size, modified] = ["ETag", "Size", "LastModifiedTime"].map((name) => values.get(name));
    const isKnown = [...values.keys()].every((name) => /^(Key|VersionId|ETag|Size|LastModifiedTime)$/.test(name));
    const key = values.get("Key") ?? "";
    demand(key !== "" && isKnown && values.size === children.length, "MalformedXML");
    if ((values.get("VersionId") ?? "null") !== "null") return { key, failure: new S3Error("NoSuchVersion") };
    return { key, condition: deleteConditionOf(etag, size, modified) };
  });
}

type Stated = string | null | undefined;

/**
 * Undefined if nothing is stated.
 * @throws S3Error InvalidArgument
 */
export function deleteConditionOf(etag: Stated, size: Stated, modified: Stated): DeleteCondition | undefined {
  const condition: DeleteCondition = {};
  if (etag != null && etag.trim() !== "*") condition.etag = unquoted(etag);
  if (size != null) condition.size = /^\d{1,15}$/.test(size) ? Number(size) : Number.NaN;
  if (modified != null) condition.modified = Math.floor(Date.parse(modified) / 1000) * 1000;
  demand(!Number.isNaN(condition.size) && !Number.isNaN(condition.modified), "InvalidArgument");
  return Object.keys(condition).length === 0 ? undefined : condition;
}

/** The end is exclusive. */
export type Range = { start: number; end: number };

/**
 * Returns the requested bytes; undefined for all of them. S3 has no responses with several ranges, and ignores an invalid field.
 * @throws S3Error InvalidRange
 */
export function rangeOf(text: string | null, size: number): Range | undefined {
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(text?.trim() ?? "") ?? [];
  if (first === "" && last === "") return undefined;
  if (first !== "" && last !== "" && Number(last) < Number(first)) return undefined;
  const start = first === "" ? Math.max(size - Number(last), 0) : Number(first);
  const end = first === "" || last === "" ? size : Math.min(Number(last) + 1, size);
  if (start >= end) throw new S3Error("InvalidRange", undefined, { "content-range": `bytes */${size}` });
  return { start, end };
}

/**
 * The range of a copied part has two ends, both within the source.
 * @throws S3Error InvalidArgument
 */
export function copyRangeOf(text: string | null, size: number): Range {
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

/** The fields that a put gives its object. @throws S3Error for fields that are too long */
export function objectFieldsOf(headers: Headers): Fields {
  const fields: Fields = { "content-type": headers.get("content-type") || "binary/octet-stream" };
  for (const name of ["cache-control", "content-disposition", "content-language", "expires"]) {
    const value = headers.get(name);
    if (value !== null) fields[name] = value;
  }
  const codings = (headers.get("content-encoding") ?? "").split(",").map((coding) => coding.trim());
  const coding = codings.filter((each) => each !== "" && each !== "aws-chunked").join(", ");
  if (coding !== "") fields["content-encoding"] = coding;
  const user = [...headers].filter(([name]) => name.startsWith("x-amz-meta-"));
  const text = user.map(([name, value]) => name.slice("x-amz-meta-".length) + value).join("");
  demand(Buffer.byteLength(text) <= LIMITS.userMetadataBytes, "MetadataTooLarge");
  return { ...fields, ...Object.fromEntries(user) };
}

const isChecksum = ([name]: [string, string]) => name.startsWith("x-amz-checksum-");

export const checksumsOf = (fields: Fields): Fields => Object.fromEntries(Object.entries(fields).filter(isChecksum));

/** Without the checksums of an object, which belong to its bytes. */
export const withoutChecksums = (fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).filter((field) => !isChecksum(field)));
