/** Builds REQUEST frames from parsed heads. Pure: no sockets. */

import type { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { FRAME_HEADER_BYTES, FrameType } from "@paceline/wire/lane/protocol";
import {
  FIELD_LENGTHS,
  methodCode,
  putFieldLengths,
  putRequestStart,
  REQUEST_TEXT,
  RequestFlag,
} from "@paceline/wire/lane/request-head";
import { copy, LOWER } from "../http1/bytes.js";
import { FieldKind } from "../http1/field-table.js";
import { addedPrefix, addsForwardedHost, passes, requestFieldsThatPass } from "../http1/forward-policy.js";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { AddedField, RequestHead } from "../http1/request-head.js";

const X_FORWARDED_HOST = latin1("x-forwarded-host");
const X_FORWARDED_PREFIX = latin1("x-forwarded-prefix");
const CONNECTION = latin1("connection");
const UPGRADE = latin1("upgrade");
const TE = latin1("te");
const TRAILERS = latin1("trailers");
const SLASH = 47;
/** On the lane, Content-Length is only information for the app. */
const CONTENT_LENGTH = 1 << FieldKind.CONTENT_LENGTH;

/** The start of a REQUEST. One object serves all requests, because each start is written before the next is filled in. */
const start = { code: 0, flags: 0, fields: 0, target: 0, host: 0, method: 0 };

/**
 * Writes a REQUEST from the parsed fields. The same fields are forwarded as over HTTP/1.1. With `isTrusted`, fields are included that only
 * a trusted peer may send. With `isAnnounced`, the instance sends STARTED before it calls the handler. With `isLittle`, the response starts
 * with a small window.
 */
export function putRequest(
  frames: FrameBuffer,
  id: number,
  head: RequestHead,
  forwarded: ForwardedFields,
  isTrusted: boolean,
  isAnnounced = !head.isIdempotent,
  isLittle = false,
): void {
  const { bytes, fields } = head;
  const host = head.hostEnd - head.hostStart;
  frames.reserve(FRAME_HEADER_BYTES + boundOf(head, forwarded));
  const buffer = frames.bytes;
  const payload = frames.length + FRAME_HEADER_BYTES;
  let at = payload + REQUEST_TEXT;
  const code = methodCode(head.method);
  if (code === 0) for (let i = 0; i < head.method.length; i++) buffer[at++] = head.method.charCodeAt(i);
  const targetAt = at;
  if (head.hasNoPath) buffer[at++] = SLASH;
  at = copy(head.target, head.targetStart, head.targetEnd, buffer, at);
  const target = at - targetAt;
  at = copy(bytes, head.hostStart, head.hostEnd, buffer, at);
  let count = 0;
  const kinds = requestFieldsThatPass(head, isTrusted) | CONTENT_LENGTH;
  for (let i = 0; i < fields.count; i++) {
    if (!passes(kinds, fields.kinds[i] as number)) continue;
    count++;
    const nameStart = fields.nameStart(i);
    const nameEnd = fields.nameEnd(i);
    const valueStart = fields.valueStart(i);
    const valueEnd = fields.valueEnd(i);
    at = putFieldLengths(buffer, at, nameEnd - nameStart, valueEnd - valueStart);
    for (let j = nameStart; j < nameEnd; j++) buffer[at++] = LOWER[bytes[j] as number] as number;
    at = copy(bytes, valueStart, valueEnd, buffer, at);
  }
  at = copy(forwarded.lane, 0, forwarded.lane.length, buffer, at);
  count += forwarded.count;
  if (addsForwardedHost(head, forwarded)) {
    count++;
    at = putFieldLengths(buffer, at, X_FORWARDED_HOST.length, host);
    at = copy(X_FORWARDED_HOST, 0, X_FORWARDED_HOST.length, buffer, at);
    at = copy(bytes, head.hostStart, head.hostEnd, buffer, at);
  }
  const prefix = addedPrefix(head, forwarded);
  if (prefix !== undefined) {
    count++;
    at = putFieldLengths(buffer, at, X_FORWARDED_PREFIX.length, prefix.length);
    at = copy(X_FORWARDED_PREFIX, 0, X_FORWARDED_PREFIX.length, buffer, at);
    at = copy(prefix, 0, prefix.length, buffer, at);
  }
  for (let i = 0; i < head.added.length; i++) {
    const { name, value } = head.added[i] as AddedField;
    count++;
    at = putFieldLengths(buffer, at, name.length, value.length);
    at = copy(name, 0, name.length, buffer, at);
    at = copy(value, 0, value.length, buffer, at);
  }
  if (head.isUpgrade) {
    count++;
    at = putFieldLengths(buffer, at, CONNECTION.length, UPGRADE.length);
    at = copy(CONNECTION, 0, CONNECTION.length, buffer, at);
    at = copy(UPGRADE, 0, UPGRADE.length, buffer, at);
  } else if (head.takesTrailers) {
    count++;
    at = putFieldLengths(buffer, at, TE.length, TRAILERS.length);
    at = copy(TE, 0, TE.length, buffer, at);
    at = copy(TRAILERS, 0, TRAILERS.length, buffer, at);
  }
  start.code = code;
  start.flags =
    (head.framing === "none" && !head.isUpgrade ? RequestFlag.END : 0) |
    (isAnnounced ? 0 : RequestFlag.IDEMPOTENT) |
    (head.isUpgrade ? RequestFlag.UPGRADE : 0) |
    (head.expectsContinue ? RequestFlag.EXPECTS : 0) |
    (forwarded.isElsewhere ? RequestFlag.ELSEWHERE : 0) |
    (isLittle ? RequestFlag.LITTLE : 0);
  start.fields = count;
  start.target = target;
  start.host = host;
  start.method = code === 0 ? head.method.length : 0;
  putRequestStart(buffer, payload, start);
  frames.header(FrameType.REQUEST, id, at - payload);
  frames.length = at;
}

/** Returns an upper bound for the size of the payload. */
function boundOf(
  { method, targetStart, targetEnd, hostStart, hostEnd, fields, prefix, added: ours }: RequestHead,
  forwarded: ForwardedFields,
): number {
  const { count } = fields;
  const fieldBytes = count === 0 ? 0 : fields.valueEnd(count - 1) - fields.nameStart(0);
  const host = hostEnd - hostStart;
  const stripped = prefix === undefined ? 0 : FIELD_LENGTHS + X_FORWARDED_PREFIX.length + prefix.length;
  // TE takes less room than an upgrade, and the two never occur together.
  const added =
    forwarded.lane.length + 2 * FIELD_LENGTHS + X_FORWARDED_HOST.length + CONNECTION.length + UPGRADE.length + stripped;
  let oursBytes = 0;
  for (let i = 0; i < ours.length; i++) {
    const { name, value } = ours[i] as AddedField;
    oursBytes += FIELD_LENGTHS + name.length + value.length;
  }
  return (
    oursBytes +
    REQUEST_TEXT +
    method.length +
    targetEnd -
    targetStart +
    1 +
    2 * host +
    fieldBytes +
    count * FIELD_LENGTHS +
    added
  );
}

function latin1(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}
