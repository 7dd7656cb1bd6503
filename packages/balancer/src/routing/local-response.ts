/**
 * The responses that the balancer generates itself: a line of text, or an error page of the pool. Built once per second for all clients.
 */
import { extname } from "node:path";
import { readRegularFile, type SnapshotPool } from "@paceline/wire";
import { REASONS } from "@paceline/wire/reasons";
import type { RequestHead } from "../http1/request-head.js";

/** The statuses of these responses: for probes, redirects to https, refused heads, no available instance, failed upstreams. */
export type LocalStatus = 200 | 308 | 400 | 404 | 408 | 413 | 414 | 417 | 429 | 431 | 501 | 502 | 503 | 504 | 505;

interface LocalResponseOptions {
  keepAlive: boolean;
  clientMinorVersion: 0 | 1;
  /** A HEAD gets no body. */
  isHead: boolean;
}

/** The body of a response with this status. */
export class LocalPage {
  /** The responses built in this second. They are kept because a client may cause many refusals. */
  private readonly built = new Map<number, Uint8Array>();
  private builtInSecond = 0;

  constructor(
    private readonly status: LocalStatus,
    private readonly body: Uint8Array,
    private readonly type: string,
  ) {}

  /** Returns the size of the body for this client. */
  bodyBytes(isHead: boolean): number {
    return isHead ? 0 : this.body.length;
  }

  /** Returns a complete response. All clients share its bytes. */
  response(options: LocalResponseOptions): Uint8Array {
    const second = Math.floor(Date.now() / 1000);
    if (second !== this.builtInSecond) this.built.clear();
    this.builtInSecond = second;
    const key = (options.keepAlive ? 4 : 0) + 2 * options.clientMinorVersion + (options.isHead ? 1 : 0);
    let response = this.built.get(key);
    if (response === undefined) {
      response = this.build(options);
      this.built.set(key, response);
    }
    return response;
  }

  private build({ keepAlive, clientMinorVersion, isHead }: LocalResponseOptions): Uint8Array {
    const { status, body, type } = this;
    const connection = keepAlive ? (clientMinorVersion === 0 ? "keep-alive" : "") : "close";
    const lines = [
      `HTTP/1.1 ${status} ${REASONS[status]}`,
      `Content-Type: ${type}`,
      `Content-Length: ${body.length}`,
      `Date: ${new Date().toUTCString()}`,
    ];
    if (!type.startsWith(PLAIN)) lines.push("Cache-Control: no-store");
    if (status === 503) lines.push(`Retry-After: ${RETRY_AFTER_SECONDS}`);
    if (connection !== "") lines.push(`Connection: ${connection}`);
    return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), isHead ? NOTHING : body]);
  }
}

/** The Retry-After of a 503 in seconds: about the time an instance takes to restart. */
const RETRY_AFTER_SECONDS = 1;
const PLAIN = "text/plain";
const NOTHING = new Uint8Array(0);

const ownPages = new Map<LocalStatus, LocalPage>();

/** Returns the page for a pool that has configured none: a line of text. */
export function ownPage(status: LocalStatus): LocalPage {
  let page = ownPages.get(status);
  if (page === undefined) {
    page = new LocalPage(status, Buffer.from(`${status} ${REASONS[status]}\n`), `${PLAIN}; charset=utf-8`);
    ownPages.set(status, page);
  }
  return page;
}

/** A response that the balancer generates itself for a request that is not refused. */
export interface OwnResponse {
  status: LocalStatus;
  /** Absent: a line of text. */
  page?: LocalPage;
  /** A further line of the head. */
  fields?: string;
}

/**
 * Returns the response to a challenge of a certificate authority, or the redirect to https; undefined if an app responds.
 * @param challenges the responses to http-01, by token; undefined if there are none
 * @param redirectPort the https port; undefined if requests are not redirected
 */
export function ownResponse(
  head: RequestHead,
  challenges: ReadonlyMap<string, string> | undefined,
  redirectPort: number | undefined,
): OwnResponse | undefined {
  const page = challenges === undefined ? undefined : challengePage(head, challenges);
  if (page !== undefined) return { status: 200, page };
  if (redirectPort === undefined) return undefined;
  const location = secureLocation(head, redirectPort);
  return typeof location === "number" ? { status: location } : { status: 308, fields: location };
}

/** Returns the response to an http-01 challenge (RFC 8555 §8.3); undefined for other requests and unknown tokens. */
function challengePage(head: RequestHead, challenges: ReadonlyMap<string, string>): LocalPage | undefined {
  const { target, targetStart, targetEnd } = head;
  if (targetEnd - targetStart <= CHALLENGES.length || targetEnd - targetStart > MAX_CHALLENGE_BYTES) return undefined;
  const path = Buffer.from(target.subarray(targetStart, targetEnd)).toString("latin1");
  const body = path.startsWith(CHALLENGES) ? challenges.get(path.slice(CHALLENGES.length)) : undefined;
  return body === undefined ? undefined : new LocalPage(200, Buffer.from(body), "application/octet-stream");
}

const MAX_CHALLENGE_BYTES = 1024;
const HTTPS_PORT = 443;
/** The path of http-01 challenges (RFC 8555 §8.3). */
const CHALLENGES = "/.well-known/acme-challenge/";

/** Returns the Location line that redirects a request to https, or the status if it cannot be redirected. */
function secureLocation(head: RequestHead, port: number): string | 400 | 404 {
  const { bytes, hostStart, hostEnd, target, targetStart, targetEnd } = head;
  const text = (from: Uint8Array, start: number, end: number) =>
    Buffer.from(from.subarray(start, end)).toString("latin1");
  const host = text(bytes, hostStart, hostEnd).replace(/:\d*$/, "");
  const path = `${head.hasNoPath ? "/" : ""}${text(target, targetStart, targetEnd)}`;
  if (host === "" || !path.startsWith("/")) return 400;
  if (path.startsWith(CHALLENGES)) return 404;
  return `Location: https://${host}${port === HTTPS_PORT ? "" : `:${port}`}${path}\r\n`;
}

const HEAD_END = Buffer.from("\r\n\r\n");

/** Returns a copy of the response with another field line. */
export function withLine(response: Uint8Array, line: Uint8Array): Uint8Array {
  const at = Buffer.from(response.buffer, response.byteOffset, response.length).indexOf(HEAD_END) + 2;
  return Buffer.concat([response.subarray(0, at), line, response.subarray(at)]);
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".htm": "text/html; charset=utf-8",
  ".json": "application/json",
  ".txt": "text/plain; charset=utf-8",
};

const MAX_PAGE_BYTES = 65_536;

/** The error pages of a pool, read when a snapshot changes them. */
export class ErrorPages {
  private readonly pages = new Map<LocalStatus, LocalPage>();
  private readonly named: string;

  /** @param onNotice receives a line for the operator about each file that cannot be read */
  constructor(list: NonNullable<SnapshotPool["errorPages"]>, onNotice: (line: string) => void) {
    this.named = JSON.stringify(list);
    for (const { status, path } of list) {
      try {
        const type = TYPES[extname(path).toLowerCase()] ?? "text/html; charset=utf-8";
        const page = readRegularFile(path, { maxBytes: MAX_PAGE_BYTES });
        this.pages.set(status as LocalStatus, new LocalPage(status as LocalStatus, page, type));
      } catch (error) {
        onNotice(`cannot read the error page for ${status}: ${(error as Error).message}`);
      }
    }
  }

  /** Whether a snapshot names the same files, unchanged. */
  isFrom(list: SnapshotPool["errorPages"]): boolean {
    return this.named === JSON.stringify(list);
  }

  of(status: LocalStatus): LocalPage | undefined {
    return this.pages.get(status);
  }
}
