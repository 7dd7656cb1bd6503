/** Records requests while somebody runs `paceline record`: method, path, time, status, size and duration; nothing secret. */
import { RECORDED_MASK, type RecordedRequest } from "@paceline/wire";
import type { SavedHead } from "../exchange/saved-head.js";

/** How long a request may wait, so that several are sent together. */
const SEND_AFTER_MS = 100;
/** With the longest paths, a message of so many is shorter than a line of the control channel may be. */
const MAX_REQUESTS = 150;
const MAX_PATH = 1024;
/** Longer than the methods that are known. */
const METHOD = /^[A-Z]{1,20}$/;

/** Parts of a path that are at least this long, such as tokens of links, are not recorded, unless they are words with dashes. */
const LONGEST_PART = 32;
const WORDS = /^[A-Z]?[a-z]{0,19}(?:-[A-Z]?[a-z]{0,19})+(?:\.[a-z]{1,5})?$/;

export class Recorder {
  private requests: RecordedRequest[] = [];
  private lost = 0;
  private timer: NodeJS.Timeout | undefined;

  /** @param send returns false if the supervisor does not read fast enough */
  constructor(private readonly send: (requests: RecordedRequest[], lost: number) => boolean) {}

  /** Records a finished request; `status` is the client's, or 499 if it disconnected before. */
  request(head: SavedHead, status: number, bytes: number, ms: number): void {
    const [method = "", received = ""] = head.requestLine(MAX_PATH + 1);
    // A part that is cut could be the beginning of a token.
    const target = received.length > MAX_PATH ? received.replace(/[^/?&;]*$/, RECORDED_MASK) : received;
    if (!METHOD.test(method) || !target.startsWith("/")) return;
    const at = Math.round(Date.now() - ms);
    this.requests.push({ at, method, path: withoutSecrets(target), status, bytes, ms: Math.round(ms * 1e3) / 1e3 });
    if (this.requests.length >= MAX_REQUESTS) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), SEND_AFTER_MS);
  }

  /** Sends what is left. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.requests.length === 0) return;
    const { requests, lost } = this;
    this.requests = [];
    this.lost = 0;
    if (!this.send(requests, lost)) this.lost = lost + requests.length;
  }
}

/** Returns a request's target as it may be recorded: the names of its query stay, their values do not. */
export function withoutSecrets(target: string): string {
  const [path = "", query] = target.split("#", 1)[0]?.split(/\?(.*)/s) ?? [];
  const masked = path.split("/").map(maskedPart).join("/");
  if (query === undefined) return masked;
  const names = query.split("&").map((pair) => {
    const [name = "", value] = pair.split(/=(.*)/s);
    // Text without a sign may be a value.
    if (value === undefined) return "";
    return `${name.length >= LONGEST_PART ? RECORDED_MASK : name}=`;
  });
  return `${masked}?${names.filter((name) => name !== "").join("&")}`;
}

/** Its parameters, such as `;jsessionid=`, keep their names. */
function maskedPart(part: string): string {
  const [name = "", ...parameters] = part.split(/;|%3b/i);
  const isSecret = name.length >= LONGEST_PART && !WORDS.test(name);
  const names = parameters.flatMap((parameter) => {
    const [key = "", value] = parameter.split(/(?:=|%3d)(.*)/is);
    return value === undefined || key.length >= LONGEST_PART ? [] : [`;${key}=`];
  });
  return `${isSecret ? RECORDED_MASK : name}${names.join("")}`;
}
