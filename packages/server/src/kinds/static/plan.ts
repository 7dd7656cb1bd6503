/** Plans the response to a request for a file. Pure. */
import { REASONS } from "@paceline/wire/reasons";
import type { Refusal } from "./found-file.js";
import type { OpenFileBody } from "./open-file-body.js";
import { type ByteRange, multipartOf, rangesOf } from "./ranges.js";
import { evaluateConditions, type FieldReader, type FileFacts, isRangeWanted, validatorsOf } from "./validators.js";

/** The content to send. */
type Content =
  /** Nothing; `length` is the length that a GET would have. */
  { kind: "none"; length?: number } | { kind: "range"; range: ByteRange } | { kind: "parts"; parts: PlannedPart[] };

/** Framing text, or a part of the file. */
export type PlannedPart = string | ByteRange;

export interface FilePlan {
  status: 200 | 206 | 304 | 412 | 416;
  fields: Record<string, string>;
  content: Content;
}

/** A file's properties in addition to its facts. */
export interface FileDescription {
  facts: FileFacts;
  type: string;
  coding: string;
  cacheControl: string | undefined;
  /** Whether the choice of file depends on Accept-Encoding. */
  varies: boolean;
}

interface PlanContext {
  method: "GET" | "HEAD";
  field: FieldReader;
  nowMs: number;
  /** Returns a new multipart boundary. */
  boundary(): string;
}

export function planFile(file: FileDescription, { method, field, nowMs, boundary }: PlanContext): FilePlan {
  const { size } = file.facts;
  const validators = validatorsOf(file.facts, nowMs, file.coding);
  const fields: Record<string, string> = {};
  if (file.varies) fields.vary = "Accept-Encoding";
  const verdict = evaluateConditions(field, validators);
  if (verdict === "failed") return { status: 412, fields, content: { kind: "none" } };
  fields.etag = validators.etag;
  fields["last-modified"] = validators.lastModified;
  if (file.cacheControl !== undefined) fields["cache-control"] = file.cacheControl;
  if (verdict === "notModified") return { status: 304, fields, content: { kind: "none" } };
  fields["accept-ranges"] = "bytes";
  // Range applies only to GET (§14.2).
  const ranges =
    method === "GET" && isRangeWanted(field, validators, nowMs)
      ? rangesOf(field("range"), size)
      : { kind: "whole" as const };
  if (ranges.kind === "none") {
    return { status: 416, fields: { "content-range": `bytes */${size}`, ...fields }, content: { kind: "none" } };
  }
  if (file.coding !== "") fields["content-encoding"] = file.coding;
  fields["content-type"] = file.type;
  fields["x-content-type-options"] = "nosniff";
  if (method === "HEAD") return { status: 200, fields, content: { kind: "none", length: size } };
  if (ranges.kind === "whole")
    return { status: 200, fields, content: { kind: "range", range: { start: 0, end: size } } };
  const [only, second] = ranges.parts;
  if (only !== undefined && second === undefined) {
    fields["content-range"] = `bytes ${only.start}-${only.end - 1}/${size}`;
    return { status: 206, fields, content: { kind: "range", range: only } };
  }
  const { contentType, delimiters } = multipartOf(ranges.parts, size, file.type, boundary());
  fields["content-type"] = contentType;
  const parts: PlannedPart[] = ranges.parts.flatMap((part, at) => [delimiters[at] as string, part]);
  parts.push(delimiters.at(-1) as string);
  return { status: 206, fields, content: { kind: "parts", parts } };
}

export interface StaticResponse {
  status: number;
  /** Names in lower case. */
  fields: Readonly<Record<string, string>>;
  body: Uint8Array | OpenFileBody | null;
}

/** Returns a text response; the server omits the body for HEAD. */
export function textResponse(status: number, fields: Readonly<Record<string, string>> = {}): StaticResponse {
  const body = Buffer.from(`${REASONS[status]}\n`);
  const type = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };
  return { status, fields: { ...fields, ...type }, body };
}

export function refusalResponse(why: Refusal): StaticResponse {
  switch (why) {
    case "missing":
      return textResponse(404);
    case "forbidden":
      return textResponse(403);
    case "busy":
      return textResponse(503, { "retry-after": "1" });
    default:
      return why satisfies never;
  }
}
