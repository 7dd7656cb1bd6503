/**
 * The X-Request-Id and traceparent of a request: kept if the peer may set them, otherwise created. Pure: clock and randomness are passed
 * in.
 */
import type { IdentityRules } from "@paceline/wire";
import { ascii } from "./bytes.js";
import { FieldKind } from "./field-table.js";
import type { AddedField, RequestHead } from "./request-head.js";

/** A UUID as text. */
const ID_BYTES = 36;
/** `00-`, 32 digits, `-`, 16 digits, `-01` (W3C Trace Context §3.2). */
const TRACEPARENT_BYTES = 55;
const MAX_KEPT_ID_BYTES = 128;
const DIGITS = ascii("0123456789abcdef");
const HYPHEN = 45;
const [ZERO, ONE, NINE, SMALL_A, SMALL_F] = [48, 49, 57, 97, 102];
/** The positions of the milliseconds since 1970, and of the counter, in the text of a UUID. */
const TIME_DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12];
const COUNTER_AT = 28;

interface IdentitySources {
  rules: IdentityRules;
  /** A clock whose time advances several times a second. */
  clock: { readonly now: number };
  /** Milliseconds since 1970. */
  date(): number;
  /** Returns a number from 0 to below 1. */
  random(): number;
}

/** Creates ids and traces. One per process. */
export class IdentitySource {
  readonly rules: IdentityRules;
  /** The next id: a UUID of version 7 whose random bits are fixed, except for a counter in the last 32 (RFC 9562 §6.2, method 2). */
  private readonly uuid = new Uint8Array(ID_BYTES);
  private stampedAt = Number.NaN;
  private sampledDue = 0;

  constructor(private readonly sources: IdentitySources) {
    this.rules = sources.rules;
    const { uuid } = this;
    for (let i = 0; i < ID_BYTES; i++) uuid[i] = DIGITS[Math.floor(sources.random() * 16)] as number;
    for (const at of [8, 13, 18, 23]) uuid[at] = HYPHEN;
    uuid[14] = ascii("7")[0] as number;
    uuid[19] = DIGITS[8 + Math.floor(sources.random() * 4)] as number;
  }

  /** Writes the next id. */
  putId(to: Uint8Array): void {
    const { uuid } = this;
    this.stamp();
    for (let at = ID_BYTES - 1; at >= COUNTER_AT; at--) {
      const digit = uuid[at] as number;
      uuid[at] = digit === NINE ? SMALL_A : digit === SMALL_F ? ZERO : digit + 1;
      if (digit !== SMALL_F) break;
    }
    for (let i = 0; i < ID_BYTES; i++) to[i] = uuid[i] as number;
  }

  private stamp(): void {
    const { clock } = this.sources;
    if (clock.now === this.stampedAt) return;
    this.stampedAt = clock.now;
    let rest = this.sources.date();
    for (let i = TIME_DIGITS.length - 1; i >= 0; i--) {
      this.uuid[TIME_DIGITS[i] as number] = DIGITS[rest % 16] as number;
      rest = Math.floor(rest / 16);
    }
  }

  /**
   * Writes a new traceparent. The trace id begins with the time. Its lower half is random, because samplers use that half. A constant share
   * of the traces is marked as sampled.
   */
  putTraceparent(to: Uint8Array): void {
    this.stamp();
    to[0] = to[1] = ZERO;
    to[2] = to[35] = to[52] = HYPHEN;
    for (let i = 0; i < TIME_DIGITS.length; i++) to[3 + i] = this.uuid[TIME_DIGITS[i] as number] as number;
    for (let at = 15; at < 35; at += 4) this.putRandom(to, at);
    // An id of zeros only would be invalid.
    for (let at = 36; at < 52; at += 4) this.putRandom(to, at);
    if (to[51] === ZERO) to[51] = ONE;
    this.sampledDue += this.rules.trace?.sampled ?? 0;
    const isSampled = this.sampledDue >= 1;
    if (isSampled) this.sampledDue -= 1;
    to[53] = ZERO;
    to[54] = isSampled ? ONE : ZERO;
  }

  /** Writes four digits. */
  private putRandom(to: Uint8Array, at: number): void {
    const value = Math.floor(this.sources.random() * 65_536);
    to[at] = DIGITS[value >> 12] as number;
    to[at + 1] = DIGITS[(value >> 8) & 15] as number;
    to[at + 2] = DIGITS[(value >> 4) & 15] as number;
    to[at + 3] = DIGITS[value & 15] as number;
  }
}

const REQUEST_ID = 1 << FieldKind.REQUEST_ID;
const TRACE = (1 << FieldKind.TRACEPARENT) | (1 << FieldKind.TRACESTATE);

/** The identity of one request at a time; belongs to a client connection. Values that are kept are forwarded unchanged. */
export class Identity {
  private readonly id = added("X-Request-Id", ID_BYTES);
  private readonly made = added("traceparent", TRACEPARENT_BYTES);
  private readonly combinations: readonly (readonly AddedField[])[] = [
    [],
    [this.id],
    [this.made],
    [this.id, this.made],
  ];
  private keptId: string | undefined;
  private keptParent: string | undefined;
  private added: readonly AddedField[] = [];
  private replaced = 0;

  constructor(private readonly source: IdentitySource) {}

  /** @param isTrusted whether the request comes from a trusted proxy */
  begin(head: RequestHead, isTrusted: boolean): void {
    const { ids, trace } = this.source.rules;
    const { fields, bytes } = head;
    let [idAt, parentAt] = [NONE, NONE];
    for (let i = 0; i < fields.count; i++) {
      const kind = fields.kinds[i];
      if (kind === FieldKind.REQUEST_ID) idAt = idAt === NONE ? i : SEVERAL;
      else if (kind === FieldKind.TRACEPARENT) parentAt = parentAt === NONE ? i : SEVERAL;
    }
    const keepsId = ids && isTrusted && idAt >= 0 && isRequestId(bytes, fields.valueStart(idAt), fields.valueEnd(idAt));
    const keepsTrace =
      trace !== undefined &&
      parentAt >= 0 &&
      (isTrusted || trace.keep === "always") &&
      isTraceparent(bytes, fields.valueStart(parentAt), fields.valueEnd(parentAt));
    this.keptId = keepsId ? fields.value(idAt) : undefined;
    this.keptParent = keepsTrace ? fields.value(parentAt).slice(0, TRACEPARENT_BYTES) : undefined;
    const makesId = ids && !keepsId;
    const makesTrace = trace !== undefined && !keepsTrace;
    if (makesId) this.source.putId(this.id.value);
    if (makesTrace) this.source.putTraceparent(this.made.value);
    this.added = this.combinations[(makesId ? 1 : 0) + (makesTrace ? 2 : 0)] as readonly AddedField[];
    this.replaced = (makesId ? REQUEST_ID : 0) | (makesTrace ? TRACE : 0);
    this.addTo(head);
  }

  /** Adds the fields for the upstream, after the head was parsed. */
  addTo(head: RequestHead): void {
    head.added = this.added;
    head.replaced = this.replaced;
  }

  /** The request id; undefined if none is created or kept. */
  get requestId(): string | undefined {
    return this.keptId ?? (this.source.rules.ids ? textOf(this.id.value, 0, ID_BYTES) : undefined);
  }

  get traceId(): string | undefined {
    return this.keptParent?.slice(3, 35) ?? (this.source.rules.trace && textOf(this.made.value, 3, 35));
  }

  /** Whether the traceparent says that the request is sampled. */
  get isSampled(): boolean {
    if (this.source.rules.trace === undefined) return false;
    return this.keptParent === undefined ? this.made.value[54] === ONE : /[13579bdf]$/.test(this.keptParent);
  }

  /** Returns the ids of the request's span, which is the parent of the app's span. */
  trace(): { traceId: string; spanId?: string; parentId?: string } {
    const { keptParent, made } = this;
    if (keptParent !== undefined) return { traceId: keptParent.slice(3, 35), parentId: keptParent.slice(36, 52) };
    return { traceId: textOf(made.value, 3, 35), spanId: textOf(made.value, 36, 52) };
  }

  /** Whether clients get the request id. */
  get isInResponse(): boolean {
    return this.source.rules.ids && this.source.rules.inResponse;
  }

  /** The field for the client as a line. */
  get responseLine(): Uint8Array {
    return ascii(`X-Request-Id: ${this.requestId}\r\n`);
  }
}

const NONE = -1;
/** Several fields with one name are not reliable. */
const SEVERAL = -2;

function added(name: string, length: number): AddedField {
  return { line: ascii(`${name}: `), name: ascii(name.toLowerCase()), value: new Uint8Array(length) };
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  return String.fromCharCode(...bytes.subarray(start, end));
}

/** Whether a value can be kept: up to 128 letters, digits and `-._~+/=:@`, which never need escapes. */
export function isRequestId(bytes: Uint8Array, start: number, end: number): boolean {
  if (start === end || end - start > MAX_KEPT_ID_BYTES) return false;
  for (let i = start; i < end; i++) if (IS_ID_BYTE[bytes[i] as number] === 0) return false;
  return true;
}

const IS_ID_BYTE = new Uint8Array(256);
for (let byte = 0; byte < 128; byte++) if (/[\w\-.~+/=:@]/.test(String.fromCharCode(byte))) IS_ID_BYTE[byte] = 1;

/** Whether a traceparent is valid (W3C Trace Context §3.2.2). Later versions may append more after a `-` (§4). */
export function isTraceparent(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  if (length < TRACEPARENT_BYTES) return false;
  if (bytes[start + 2] !== HYPHEN || bytes[start + 35] !== HYPHEN || bytes[start + 52] !== HYPHEN) return false;
  for (const [from, to, mayBeZero] of PARTS) {
    let isZero = true;
    for (let i = start + from; i < start + to; i++) {
      const byte = bytes[i] as number;
      if (!(byte >= ZERO && byte <= NINE) && !(byte >= SMALL_A && byte <= SMALL_F)) return false;
      if (byte !== ZERO) isZero = false;
    }
    if (isZero && !mayBeZero) return false;
  }
  if (bytes[start] === SMALL_F && bytes[start + 1] === SMALL_F) return false;
  const isFirstVersion = bytes[start] === ZERO && bytes[start + 1] === ZERO;
  return length === TRACEPARENT_BYTES || (!isFirstVersion && bytes[start + TRACEPARENT_BYTES] === HYPHEN);
}

/** Version, trace id, parent id and flags: the start, the end, and whether all digits may be 0. */
const PARTS = [
  [0, 2, true],
  [3, 35, false],
  [36, 52, false],
  [53, 55, true],
] as const;
