/** Serves the page: its document, and the stream of the status that it follows. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import type * as Zlib from "node:zlib";
import { builtFile } from "../package.js";
import type { FleetEvent, Status, SupervisorApi } from "./api.js";
import { ControlError, jsonForAll } from "./responses.js";

interface PageDocument {
  html: Buffer;
  compressed: Buffer;
  policy: string;
}

/**
 * The build assembles the document from src/page. Its policy allows no other scripts or styles. It is read once: an upgrade in place
 * changes the file, and this supervisor must serve the page of its own version.
 */
let known: PageDocument | undefined;

/** @throws ControlError `internal` if the file is missing */
export function sendPage(response: ServerResponse, acceptEncoding: string, isHead: boolean): void {
  known ??= readPage();
  const { html, compressed, policy } = known;
  const isCompressed = /\bgzip\b/.test(acceptEncoding);
  const body = isCompressed ? compressed : html;
  response.writeHead(200, {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Length": body.length,
    ...(isCompressed && { "Content-Encoding": "gzip" }),
    Vary: "Accept-Encoding",
    "Content-Security-Policy": policy,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
  });
  response.end(isHead ? undefined : body);
}

function readPage(): PageDocument {
  const path = builtFile("page.html");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new ControlError(500, "internal", `the page cannot be read: ${(error as Error).message}`);
  }
  const html = Buffer.from(text);
  return { html, compressed: compress(html), policy: policyOf(text) };
}

/** Several short blocks of codes suit scripts and styles better than the one long block of the usual memory level. */
export function compress(html: Buffer): Buffer {
  // Most supervisors never send the page.
  const { gzipSync } = process.getBuiltinModule("node:zlib") as typeof Zlib;
  return gzipSync(html, { level: 9, memLevel: 7 });
}

/** Returns a policy that allows the scripts and styles of this text, and connections to its origin. */
export function policyOf(html: string): string {
  const hashes = (tag: string) =>
    [...html.matchAll(new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`, "g"))].map(
      ([, content = ""]) => `'sha256-${createHash("sha256").update(content).digest("base64")}'`,
    );
  return [
    "default-src 'none'",
    `script-src ${hashes("script").join(" ")}`,
    `style-src ${hashes("style").join(" ")}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}

/** The interval that followers are told, in milliseconds. */
const EVERY_MS = 1000;
const MAX_FOLLOWERS = 16;
/** A follower with more unread bytes is disconnected. It may reconnect for the newest status. */
const MAX_UNREAD_BYTES = 2 << 20;
const RECENT_MS = 5000;
/** The number of events that a new follower gets. */
const FIRST_EVENTS = 200;

/** Sends the status each second, and events of the fleet as they happen, as server-sent events. */
export class StatusStream {
  private readonly followers = new Set<ServerResponse>();
  private readonly subscriptions: (() => void)[] = [];

  constructor(
    private readonly supervisor: Pick<
      SupervisorApi,
      "status" | "onStatus" | "history" | "recentEvents" | "onEvent" | "page"
    >,
  ) {}

  /** @throws ControlError `busy` */
  open(response: ServerResponse): void {
    const { followers, supervisor } = this;
    if (followers.size >= MAX_FOLLOWERS)
      throw new ControlError(503, "busy", `already ${MAX_FOLLOWERS} clients follow the status`);
    const { mayWrite } = supervisor.page();
    response.writeHead(200, { "Content-Type": "text/event-stream", "X-Accel-Buffering": "no" });
    response.write(
      messageOf("hello", { mayWrite, everyMs: EVERY_MS }) +
        messageOf("events", supervisor.recentEvents().slice(-FIRST_EVENTS)) +
        this.statusMessage(supervisor.status()),
    );
    followers.add(response);
    response.on("close", () => this.leave(response));
    if (this.subscriptions.length > 0) return;
    this.subscriptions.push(
      supervisor.onStatus((status) => this.send(this.statusMessage(status))),
      supervisor.onEvent((event: FleetEvent) => this.send(messageOf("events", [event]))),
    );
  }

  close(): void {
    for (const response of [...this.followers]) {
      this.leave(response);
      response.end();
    }
  }

  private statusMessage(status: Status): string {
    const at = Date.now();
    // The message covers a few seconds more than one. A follower drops the seconds that it already has, and loses none if a message is
    // late.
    const recent = this.supervisor.history("seconds", at - RECENT_MS);
    return message("status", `{"at":${at},"status":${jsonForAll(status)},"recent":${JSON.stringify(recent)}}`);
  }

  private send(text: string): void {
    for (const response of [...this.followers]) {
      if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
      else response.write(text);
    }
  }

  private leave(response: ServerResponse): void {
    this.followers.delete(response);
    if (this.followers.size > 0) return;
    for (const end of this.subscriptions.splice(0)) end();
  }
}

function messageOf(event: string, data: object): string {
  return message(event, JSON.stringify(data));
}

/** JSON contains no line feeds, so each message has one line of data. */
function message(event: string, json: string): string {
  return `event: ${event}\ndata: ${json}\n\n`;
}
