/** Certificates in files, which are read again when they change. If the new files cannot be used, the old certificate stays in use. */
import { statSync } from "node:fs";
import type { CertificateEntry } from "@paceline/wire";
import { readAuthorities, readCertificate } from "../config/certificate-files.js";
import type { CertificateFiles, TlsConfig } from "../core/model.js";

/**
 * How often the files are checked, in milliseconds. A stat also detects swapped symlinks, renamed files and changes on network file
 * systems.
 */
const LOOK_MS = 2_000;
/** The minimum time between two checks for each file, in milliseconds, so that many files take only a small share of the time. */
const LOOK_MS_EACH = 20;
/** A certificate and its key are replaced one after the other, so a mismatch is not reported for this time. In milliseconds. */
const SETTLE_MS = 10_000;

type Log = (level: "info" | "warn" | "error", message: string) => void;

interface Watched {
  files: CertificateFiles;
  /** The last certificate that was read, and the state of its files. */
  state: string;
  entry: CertificateEntry | undefined;
  /** Why the newest files cannot be used, and since when. */
  problem: string | undefined;
  since: number;
  /** The last reported problem. */
  reported: string | undefined;
}

interface WatchedAuthorities {
  path: string;
  state: string;
  pem: string | undefined;
  problem: string | undefined;
}

/** The contents of files. */
export interface ReadFiles {
  /** By their paths. */
  pairs: ReadonlyMap<string, Pick<Watched, "state" | "entry">>;
  clientCa: WatchedAuthorities | undefined;
}

interface WatchedFilesOptions {
  log: Log;
  /** Called when other certificates are in use. */
  onChange(): void;
  now?: () => number;
  /** Files that root has read before this process changed to another user. */
  asRoot?: ReadFiles | undefined;
}

export class WatchedFiles {
  private watched: Watched[] = [];
  private clientCa: WatchedAuthorities | undefined;
  private timer: NodeJS.Timeout | undefined;
  private readonly now: () => number;

  constructor(private readonly options: WatchedFilesOptions) {
    this.now = options.now ?? Date.now;
  }

  /** In the order of the configuration. */
  get entries(): CertificateEntry[] {
    return this.watched.flatMap(({ entry }) => entry ?? []);
  }

  /** Whether a certificate could never be read. */
  get isIncomplete(): boolean {
    return this.watched.some(({ entry }) => entry === undefined);
  }

  /** Whether the authorities for client certificates could never be read, so that no client may connect. */
  get lacksAuthorities(): boolean {
    return this.clientCa !== undefined && this.clientCa.pem === undefined;
  }

  /** The certificates read so far. */
  get read(): ReadFiles {
    const pairs = new Map(this.watched.map(({ files, state, entry }) => [keyOf(files), { state, entry }]));
    return { pairs, clientCa: this.clientCa };
  }

  get clientCaPem(): string | undefined {
    return this.clientCa?.pem;
  }

  /** Returns why a certificate is not the one in its files, by the names that it covers. */
  get problems(): { names: string[]; problem: string }[] {
    return this.watched.flatMap(({ problem, entry, files, reported }) =>
      problem === undefined || reported === undefined ? [] : [{ names: entry?.names ?? [files.certificate], problem }],
    );
  }

  /** Reads the files of a configuration at once, and watches them. */
  follow({ certificates, clientCa }: Pick<TlsConfig, "certificates" | "clientCa">): void {
    const known = new Map(this.watched.map((each) => [keyOf(each.files), each]));
    const unread = { state: "", entry: undefined };
    this.watched = certificates.map((files) => {
      const key = keyOf(files);
      const read = this.options.asRoot?.pairs.get(key) ?? unread;
      return known.get(key) ?? { files, ...read, problem: undefined, since: 0, reported: undefined };
    });
    const ca = this.clientCa ?? this.options.asRoot?.clientCa;
    if (clientCa === null) this.clientCa = undefined;
    else this.clientCa = ca?.path === clientCa ? ca : { path: clientCa, state: "", pem: undefined, problem: undefined };
    this.look();
    clearInterval(this.timer);
    const files = 2 * this.watched.length + (clientCa === null ? 0 : 1);
    this.timer = undefined;
    if (files > 0) this.timer = setInterval(() => this.lookAgain(), Math.max(LOOK_MS, files * LOOK_MS_EACH)).unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  private lookAgain(): void {
    if (this.look()) this.options.onChange();
  }

  /** Checks the files. Returns whether other certificates are in use now. */
  look(): boolean {
    let hasChanged = this.lookAtAuthorities();
    for (const each of this.watched) if (this.lookAt(each)) hasChanged = true;
    return hasChanged;
  }

  private lookAt(each: Watched): boolean {
    const { certificate, key } = each.files;
    const state = `${stateOf(certificate)} ${stateOf(key)}`;
    if (state === each.state && each.problem === undefined) return false;
    const read = readCertificate(each.files);
    const now = this.now();
    // A new certificate that has expired does not replace the one in use.
    const isOver = !("problem" in read) && read.notAfter <= now && (each.entry?.notAfter ?? 0) > now;
    if ("problem" in read || isOver) {
      this.noteProblem(each, "problem" in read ? read.problem : `${certificate} has expired`, now);
      return false;
    }
    const { entry } = each;
    Object.assign(each, { state, problem: undefined, reported: undefined });
    const { names, certificatePem, keyPem, notAfter } = read;
    if (entry?.certificatePem === certificatePem && entry.keyPem === keyPem) return false;
    each.entry = { names, certificatePem, keyPem, source: "file", notAfter };
    if (entry !== undefined)
      this.options.log(
        "info",
        `the certificate for ${names.join(", ")} was replaced; it is valid until ${dayOf(notAfter)}`,
      );
    return true;
  }

  private noteProblem(each: Watched, problem: string, now: number): void {
    if (each.problem !== problem) each.since = now;
    each.problem = problem;
    if (each.reported === problem || (each.entry !== undefined && now - each.since < SETTLE_MS)) return;
    each.reported = problem;
    this.options.log(
      "error",
      `${problem}; ${each.entry === undefined ? "it is not used" : "the certificate in use stays"}`,
    );
  }

  private lookAtAuthorities(): boolean {
    const { clientCa } = this;
    if (clientCa === undefined) return false;
    const state = stateOf(clientCa.path);
    if (state === clientCa.state) return false;
    clientCa.state = state;
    const read = readAuthorities(clientCa.path);
    if ("problem" in read) {
      if (read.problem !== clientCa.problem) this.options.log("error", `${read.problem}; the authorities in use stay`);
      clientCa.problem = read.problem;
      return false;
    }
    clientCa.problem = undefined;
    const hasChanged = read.pem !== clientCa.pem;
    clientCa.pem = read.pem;
    return hasChanged;
  }
}

function keyOf({ certificate, key }: CertificateFiles): string {
  return `${certificate}\0${key}`;
}

/** Returns a text that changes when the file was changed or replaced. */
function stateOf(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(":");
  } catch (error) {
    return `${(error as NodeJS.ErrnoException).code}`;
  }
}

export function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}
