/** A request's head, kept as the bytes that came, for whoever has to send it later or again: it is parsed anew then. */
import { copyOf } from "../http1/bytes.js";
import type { RequestHead } from "../http1/request-head.js";
import { asRequestForFile } from "../routing/file-redirect.js";
import { retarget, routeOf } from "../routing/route.js";
import type { Route, Router } from "../routing/router.js";
import type { Pool } from "../upstreams/pool.js";

/** A larger read is not kept for the head in it. */
const MAX_KEPT_READ_BYTES = 65_536;
const MAX_DESCRIBED_BYTES = 200;

export class SavedHead {
  private bytes: Uint8Array | undefined;
  private start = 0;
  private end = 0;
  private route: Route<Pool> | undefined;
  /** The target that took the place of the one that came. */
  private target: Uint8Array | undefined;
  /** A file is asked for in the place of what the client asked for. */
  private isForFile = false;

  /** Of a large read with the begin of a body in it the head alone is kept, so that the rest can be freed. */
  keep(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    if (bytes.length > MAX_KEPT_READ_BYTES) this.shrink();
  }

  /** Lets go of what else came with it: it is kept for long. */
  shrink(): void {
    this.bytes = copyOf(this.bytes as Uint8Array, this.start, this.end);
    this.end -= this.start;
    this.start = 0;
  }

  /** Where it goes, as its route was found from this head. */
  routed(route: Route<Pool>, head: RequestHead): void {
    this.route = route;
    this.target = head.target === head.bytes ? undefined : head.target;
  }

  /** Whether it is in these bytes. */
  isIn(bytes: Uint8Array): boolean {
    return this.bytes === bytes;
  }

  /** It becomes a GET of that target, or a HEAD where it is one; undefined where no pool has it. */
  redirect(target: Uint8Array, router: Router<Pool>, head: RequestHead): Route<Pool> | undefined {
    head.parse(this.bytes as Uint8Array, this.start, this.end);
    asRequestForFile(head);
    head.retarget(target);
    this.isForFile = true;
    const route = routeOf(router, head);
    if (typeof route === "number") return undefined;
    this.routed(route, head);
    return route;
  }

  /** Parses it into `head`, as it came; returns where it begins in its bytes, -1 when nothing is kept. */
  parseOriginal(head: RequestHead): number {
    if (this.bytes === undefined) return -1;
    head.parse(this.bytes, this.start, this.end);
    return this.start;
  }

  /** Parses it into `head`, as its upstream is to see it. */
  parse(head: RequestHead): RequestHead {
    head.parse(this.bytes as Uint8Array, this.start, this.end);
    if (this.isForFile) asRequestForFile(head);
    retarget(head, this.route as Route<Pool>, this.target);
    return head;
  }

  /** Its method and path, for people: without the query, which may hold what is not for logs. */
  describe(): string {
    if (this.bytes === undefined) return "";
    const end = Math.min(this.end, this.start + MAX_DESCRIBED_BYTES);
    const text = Buffer.from(this.bytes.buffer, this.bytes.byteOffset + this.start, end - this.start).toString(
      "latin1",
    );
    const [method = "", target = ""] = text.slice(0, text.search(/\r|$/)).trimStart().split(" ", 2);
    return `${method} ${target.replace(/[?#].*/, "")}`.replace(/[^!-~ ]/g, "?");
  }

  clear(): void {
    this.isForFile = false;
    this.bytes = undefined;
    this.route = undefined;
    this.target = undefined;
  }
}
