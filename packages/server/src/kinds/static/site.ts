/** A served folder: resolves requests to files and plans the responses. */
import { closeSync, realpathSync, type Stats, statSync } from "node:fs";
import { sep } from "node:path";
import { ServerError } from "../../shared/errors.js";
import { acceptedEncodings, type CacheControlOf, cacheControlBy, mediaTypeOf, SUFFIXES } from "./content-fields.js";
import {
  type Confinement,
  HOT_FILE_BYTES,
  type HotFile,
  HotFiles,
  type OpenFile,
  openFile,
  type Refusal,
  refusalOf,
} from "./found-file.js";
import { listingPage, readListing } from "./listing.js";
import { type BodyPart, OpenFileBody } from "./open-file-body.js";
import type { StaticSettings } from "./options.js";
import {
  type FileDescription,
  type FilePlan,
  type PlannedPart,
  planFile,
  refusalResponse,
  type StaticResponse,
  textResponse,
} from "./plan.js";
import { checkPath, type GoodPath, isFolderPath, type PathRules, pathRules, withSlash } from "./request-path.js";
import type { FieldReader } from "./validators.js";

interface StaticRequest {
  method: string;
  /** Path and query, unchanged. */
  target: string;
  /** The client's original target, if something on the way has changed it. */
  originalTarget?: string;
  field: FieldReader;
}

/** Fields that cause another response than the whole file. */
const SPECIAL = ["range", "if-none-match", "if-modified-since", "if-match", "if-unmodified-since"] as const;
/** The maximum number of tries for a file that shrinks while it is read. */
const MAX_TRIES = 3;

interface FileTarget {
  path: string;
  relative: string;
}

export class Site {
  private readonly rules: PathRules;
  private readonly cacheControlOf: CacheControlOf;
  private readonly hot = new HotFiles();
  private readonly confinement: Confinement;
  private realRoot = "";

  /**
   * @param root an absolute path
   * @param wholeBytes files up to this size are read at once; larger ones are sent in blocks
   */
  constructor(
    private readonly root: string,
    private readonly settings: StaticSettings,
    private readonly wholeBytes: number,
  ) {
    this.rules = pathRules(settings);
    this.cacheControlOf = cacheControlBy(settings);
    this.confinement = {
      isNeeded: settings.symlinks === "inside",
      allows: (real) => this.isInside(real),
    };
  }

  /** @throws the file system's errors, except those caused by bad names */
  respond(request: StaticRequest): StaticResponse {
    const { method, target } = request;
    if (method !== "GET" && method !== "HEAD") return textResponse(405, { allow: "GET, HEAD" });
    const [path, query] = splitTarget(target);
    const checked = checkPath(path, this.rules);
    if (checked.kind === "bad") return textResponse(400);
    if (checked.kind === "hidden") return textResponse(404);
    return this.respondPath(checked, request, path, query);
  }

  private respondPath(good: GoodPath, request: StaticRequest, path: string, query: string): StaticResponse {
    const [asked, askedQuery] =
      request.originalTarget === undefined ? [path, query] : splitTarget(request.originalTarget);
    const hasSlash = good.isFolder && (request.originalTarget === undefined || isFolderPath(asked));
    const index = hasSlash ? this.respondIndex(good, request) : undefined;
    if (index !== undefined) return index;
    const full = this.pathOf(good.relative);
    const stat = statOf(full);
    if (typeof stat === "string") return refusalResponse(stat);
    if (stat.isFile()) {
      return good.isFolder
        ? textResponse(404)
        : this.respondFile({ path: full, relative: good.relative }, stat, request);
    }
    if (!stat.isDirectory() || !this.isAllowed(full)) return textResponse(404);
    if (!hasSlash) return textResponse(301, { location: withSlash(asked, askedQuery) });
    return this.settings.listing ? this.list(full, good, request) : textResponse(404);
  }

  private respondIndex(good: GoodPath, request: StaticRequest): StaticResponse | undefined {
    for (const name of this.settings.index) {
      const relative = good.relative === "" ? name : `${good.relative}/${name}`;
      const path = this.pathOf(relative);
      const stat = statOf(path);
      if (typeof stat !== "string" && stat.isFile()) return this.respondFile({ path, relative }, stat, request);
    }
    return undefined;
  }

  private respondFile(target: FileTarget, stat: Stats, request: StaticRequest): StaticResponse {
    const { precompressed } = this.settings;
    const type = mediaTypeOf(target.path);
    const varies = type.isCompressible && precompressed.length > 0;
    const describe = (coding: string) => ({
      type: type.value,
      coding,
      cacheControl: this.cacheControlOf(target.relative),
      varies,
    });
    if (varies) {
      for (const encoding of acceptedEncodings(request.field("accept-encoding"), precompressed)) {
        const path = target.path + SUFFIXES[encoding];
        const neighbour = statOf(path);
        if (typeof neighbour === "string" || !neighbour.isFile()) continue;
        const response = this.send(path, neighbour, encoding, () => describe(encoding), request);
        if (typeof response !== "string") return response;
      }
    }
    const response = this.send(target.path, stat, "", () => describe(""), request);
    return typeof response === "string" ? refusalResponse(response) : response;
  }

  private send(
    path: string,
    stat: Stats,
    coding: string,
    describe: () => Omit<FileDescription, "facts">,
    request: StaticRequest,
  ): StaticResponse | Refusal {
    const hot = stat.size <= HOT_FILE_BYTES ? this.hot.get(hotKey(path, coding), stat) : undefined;
    if (hot !== undefined) {
      if (request.method === "GET" && SPECIAL.every((name) => isAbsent(request.field(name)))) {
        return { status: 200, fields: hot.fields, body: hot.bytes };
      }
      return this.fromMemory(this.plan({ ...describe(), facts: hot.facts }, request), hot.bytes);
    }
    for (let tries = 1; tries <= MAX_TRIES; tries++) {
      const file = openFile(path, this.confinement);
      if (typeof file === "string") return file;
      const response = this.fromFile(path, file, { ...describe(), facts: file.facts }, request);
      if (response !== undefined) return response;
    }
    throw new Error(`${path} becomes shorter with each read`);
  }

  /** Returns undefined if the file has shrunk meanwhile. The descriptor is closed or belongs to the response's body. */
  private fromFile(
    path: string,
    { fd, facts }: OpenFile,
    description: FileDescription,
    request: StaticRequest,
  ): StaticResponse | undefined {
    let body: OpenFileBody | undefined;
    let isLent = false;
    try {
      const plan = this.plan(description, request);
      const { status, fields, content } = plan;
      if (content.kind === "none") return this.fromMemory(plan, EMPTY);
      body = new OpenFileBody(fd, content.kind === "range" ? [content.range] : content.parts.map(partOf), path);
      if (body.length > this.wholeBytes) {
        body.ignoresRange = status === 200 && !isAbsent(request.field("range"));
        isLent = true;
        return { status, fields: { ...fields, "content-length": `${body.length}` }, body: body.lend() };
      }
      const bytes = readAll(body);
      if (bytes === undefined) return undefined;
      this.keepHot(hotKey(path, description.coding), { facts, bytes, fields }, plan);
      return { status, fields, body: bytes };
    } finally {
      if (body === undefined) closeSync(fd);
      else if (!isLent) body.close();
    }
  }

  /** A weak tag means that the file may change unnoticed. */
  private keepHot(key: string, hot: HotFile, { status, fields }: FilePlan): void {
    if (status === 200 && hot.bytes.length <= HOT_FILE_BYTES && !fields.etag?.startsWith("W/")) this.hot.add(key, hot);
  }

  private fromMemory({ status, fields, content }: FilePlan, bytes: Uint8Array): StaticResponse {
    switch (content.kind) {
      case "none":
        if (status >= 400) return textResponse(status, fields);
        return {
          status,
          fields: content.length === undefined ? fields : { ...fields, "content-length": `${content.length}` },
          body: null,
        };
      case "range": {
        const { start, end } = content.range;
        return { status, fields, body: end - start === bytes.length ? bytes : bytes.subarray(start, end) };
      }
      case "parts":
        return {
          status,
          fields,
          body: Buffer.concat(
            content.parts.map((part) =>
              typeof part === "string" ? Buffer.from(part, "latin1") : bytes.subarray(part.start, part.end),
            ),
          ),
        };
    }
  }

  private plan(description: FileDescription, { method, field }: StaticRequest): FilePlan {
    return planFile(description, {
      method: method as "GET" | "HEAD",
      field,
      nowMs: Date.now(),
      // Loaded on demand: node:crypto costs an instance 1 MB, and few instances send several parts.
      boundary: () => process.getBuiltinModule("node:crypto").randomBytes(12).toString("hex"),
    });
  }

  private list(folder: string, { relative }: GoodPath, { method }: StaticRequest): StaticResponse {
    let listing: ReturnType<typeof readListing>;
    try {
      listing = readListing(folder, this.settings.dotfiles);
    } catch (error) {
      return refusalResponse(refusalOf(error));
    }
    const title = relative === "" ? "/" : `/${relative}/`;
    const page = Buffer.from(listingPage(title, listing.names, relative === "", listing.isWhole));
    const fields = {
      "content-type": "text/html; charset=utf-8",
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
    };
    if (method === "HEAD")
      return { status: 200, fields: { ...fields, "content-length": `${page.length}` }, body: null };
    return { status: 200, fields, body: page };
  }

  private pathOf(relative: string): string {
    return relative === "" ? this.root : `${this.root}${sep}${relative}`;
  }

  /** Returns whether a folder may be listed. Its entries are checked when they are opened. */
  private isAllowed(folder: string): boolean {
    if (!this.confinement.isNeeded) return true;
    try {
      return this.isInside(realpathSync(folder));
    } catch (error) {
      refusalOf(error);
      return false;
    }
  }

  private isInside(real: string): boolean {
    if (isBeneath(real, this.realRoot)) return true;
    // The root itself may be a link that a deployment has changed.
    this.realRoot = realpathSync(this.root);
    return isBeneath(real, this.realRoot);
  }
}

const EMPTY = new Uint8Array(0);

function isBeneath(real: string, root: string): boolean {
  if (root === "" || !real.startsWith(root)) return false;
  return real.length === root.length || root.endsWith(sep) || real[root.length] === sep;
}

/** A file has one key under its own name. As a precompressed file, it has another one. */
function hotKey(path: string, coding: string): string {
  return coding === "" ? path : `${coding} ${path}`;
}

function partOf(part: PlannedPart): BodyPart {
  return typeof part === "string" ? Buffer.from(part, "latin1") : part;
}

/** Returns undefined if the file has shrunk. */
function readAll(body: OpenFileBody): Buffer | undefined {
  const bytes = Buffer.allocUnsafeSlow(body.length);
  try {
    while (body.remaining > 0) body.readInto(bytes, bytes.length - body.remaining, body.remaining);
    return bytes;
  } catch (error) {
    if (error instanceof ServerError && error.code === "file-shrunk") return undefined;
    throw error;
  }
}

function isAbsent(value: string | null | undefined): boolean {
  return value === null || value === undefined;
}

function splitTarget(target: string): [path: string, query: string] {
  const hash = target.indexOf("#");
  const whole = hash < 0 ? target : target.slice(0, hash);
  const mark = whole.indexOf("?");
  return mark < 0 ? [whole, ""] : [whole.slice(0, mark), whole.slice(mark)];
}

function statOf(path: string): Stats | Refusal {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? "missing";
  } catch (error) {
    return refusalOf(error);
  }
}
