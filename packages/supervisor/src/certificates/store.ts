/** The fleet's certificates: from files, created here, or ordered by ACME. They are sent to all balancers as one set. */
import { randomBytes } from "node:crypto";
import {
  type CertificateEntry,
  type CertificateSource,
  type Certificates,
  type Challenges,
  NO_CHALLENGES,
} from "@paceline/wire";
import { covers } from "../config/certificate-files.js";
import type { FleetConfig, ListenAddress, TlsConfig } from "../core/model.js";
import { authorityIn, issueLocally, localNames, renewalAt, trustText } from "./local-issuer.js";
import { dayOf, type ReadFiles, WatchedFiles } from "./watched-files.js";
import type { IssuedCertificate } from "./x509.js";

/** How long balancers may take to apply a new set, in milliseconds. */
const APPLY_TIMEOUT_MS = 5_000;
/** The maximum size of a message's contents in bytes; a message of the control channel is at most 1 MiB. */
const MAX_MESSAGE_BYTES = 512 << 10;
/** How long a key of session tickets is used, in milliseconds. A leaked key can decrypt only the sessions of that time. */
const TICKET_KEY_MS = 12 * 3_600_000;
const TICKET_KEY_BYTES = 48;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/**
 * A warning is logged this many days before the expiry of a certificate that is renewed by hand. `cli/format-status.ts` has the same value.
 */
const WARN_DAYS = 14;

/** The sources, in order of precedence. */
const SOURCES: readonly CertificateSource[] = ["file", "automatic", "internal", "self-signed"];

/** A certificate of the fleet, without its key. */
interface CertificateStatus {
  /** Names, wildcards and IP addresses. */
  names: string[];
  source: "file" | "self-signed" | "internal" | "automatic";
  /** Unix time in milliseconds. */
  notAfter: number;
  /** What is wrong with it, for example an unreadable file; null if nothing is. */
  problem: string | null;
}

interface StoreOptions {
  /** The name of the fleet. */
  fleet: string;
  /** The folder of certificates created here; it may not exist. */
  folder: string;
  /** Sends a set to all balancers. Resolves with the balancers that did not acknowledge it in time. */
  certify(messages: readonly Certificates[], timeoutMs: number): Promise<string[]>;
  log(level: "info" | "warn" | "error", message: string): void;
  /** Whether balancers of an earlier supervisor are still running with its certificates. */
  isAdopted?: boolean;
  asRoot?: ReadFiles | undefined;
  now?: () => number;
}

export class CertificateStore {
  private config: TlsConfig | undefined;
  private listen: readonly ListenAddress[] = [];
  private readonly files: WatchedFiles;
  private readonly entries = new Map<CertificateSource, readonly CertificateEntry[]>();
  private challenges: Challenges = NO_CHALLENGES;
  private version = 0;
  private ticketKey = randomBytes(TICKET_KEY_BYTES);
  private readonly timers = new Set<NodeJS.Timeout>();
  /** Certificates from files whose expiry was reported, with their expiry times. */
  private readonly warned = new Set<string>();
  private authority: IssuedCertificate | undefined;
  /** Why certificates are self-signed instead of signed by the authority; null if the authority signs them. */
  private authorityProblem: string | null = null;
  private readonly now: () => number;

  constructor(private readonly options: StoreOptions) {
    this.now = options.now ?? Date.now;
    const { log, asRoot } = options;
    this.files = new WatchedFiles({ log, asRoot, onChange: () => this.filesChanged(), now: this.now });
  }

  /** The certificates in the order in which they are searched. */
  get all(): CertificateEntry[] {
    return SOURCES.flatMap((source) => (source === "file" ? this.files.entries : (this.entries.get(source) ?? [])));
  }

  /** Returns the certificate that clients get for a name. */
  find(name: string): CertificateEntry | undefined {
    const { all } = this;
    return all.find(({ names }) => names.includes(name)) ?? all.find(({ names }) => covers(names, name));
  }

  /** Without keys. */
  get status(): CertificateStatus[] {
    const { problems } = this.files;
    return this.all.map(({ names, source, notAfter }) => ({
      ...{ names, source, notAfter },
      problem:
        problems.find((each) => each.names.join() === names.join())?.problem ??
        (source === "internal" ? this.authorityProblem : null) ??
        (notAfter <= this.now() ? `it has expired on ${dayOf(notAfter)}` : null),
    }));
  }

  /** Applies a configuration. Must be called before a balancer gets a snapshot of that configuration. */
  follow({ tls, listen }: Pick<FleetConfig, "tls" | "listen">): void {
    if (tls === undefined) return;
    this.config = tls;
    this.listen = listen;
    this.files.follow(tls);
    if (this.timers.size === 0) {
      this.every(TICKET_KEY_MS, () => {
        this.ticketKey = randomBytes(TICKET_KEY_BYTES);
        void this.send();
      });
      this.every(HOUR_MS, () => this.lookAtEnds());
    }
    this.changed();
    this.lookAtEnds();
  }

  /** Replaces the certificates of a source. Resolves when the balancers have them. */
  put(source: Exclude<CertificateSource, "file">, entries: readonly CertificateEntry[]): Promise<void> {
    this.entries.set(source, entries);
    return this.send();
  }

  /** Lets the balancers respond to a challenge. Resolves when all balancers do. */
  challenge(added: Partial<Challenges>): Promise<void> {
    const { http01, alpn01 } = this.challenges;
    this.challenges = { http01: [...http01, ...(added.http01 ?? [])], alpn01: [...alpn01, ...(added.alpn01 ?? [])] };
    return this.send();
  }

  /** Ends challenges, by token and by name. Resolves when no balancer responds to them any more. */
  unchallenge({ tokens = [], names = [] }: { tokens?: readonly string[]; names?: readonly string[] }): Promise<void> {
    this.challenges = {
      http01: this.challenges.http01.filter(({ token }) => !tokens.includes(token)),
      alpn01: this.challenges.alpn01.filter(({ name }) => !names.includes(name)),
    };
    return this.send();
  }

  close(): void {
    this.files.close();
    for (const timer of this.timers) clearInterval(timer);
    this.timers.clear();
  }

  private every(ms: number, act: () => void): void {
    this.timers.add(setInterval(act, ms).unref());
  }

  private filesChanged(): void {
    this.changed();
    this.lookAtEnds();
  }

  private changed(): void {
    this.issue();
    void this.send();
  }

  /** Creates certificates for the names that no other one covers. */
  private issue(): void {
    const { config, options } = this;
    const issuer = config?.issuer ?? null;
    for (const kind of ["internal", "self-signed"] as const) if (kind !== issuer) this.entries.delete(kind);
    if (config === undefined || issuer === null) return;
    const covered = this.files.entries.flatMap(({ names }) => names);
    const names = localNames(this.listen, config.names).filter((name) => !covers(covered, name));
    const [known] = this.entries.get(issuer) ?? [];
    const isGood = known !== undefined && known.names.join() === names.join() && renewalAt(known) > this.now();
    if (isGood || names.length === 0) return;
    const root = issuer === "internal" ? this.authorityOnce() : undefined;
    this.entries.set(issuer, [issueLocally(issuer, names, root, this.now())]);
    if (known !== undefined) options.log("info", `the certificate for ${names.join(", ")} was renewed`);
  }

  private authorityOnce(): IssuedCertificate | undefined {
    if (this.authority !== undefined) return this.authority;
    const { folder, fleet, log } = this.options;
    try {
      const { root, path, isNew } = authorityIn(folder, fleet, this.now());
      this.authority = root;
      this.authorityProblem = null;
      log("info", `${isNew ? "made an internal authority; " : ""}${trustText(path)}`);
    } catch (error) {
      this.authorityProblem = `the internal authority cannot be used, so certificates are self-signed: ${(error as Error).message}`;
      log("error", this.authorityProblem);
    }
    return this.authority;
  }

  /** Renews certificates created here, and warns of expiring certificates from files. */
  private lookAtEnds(): void {
    const now = this.now();
    const [made] = this.config?.issuer == null ? [] : (this.entries.get(this.config.issuer) ?? []);
    if (made !== undefined && renewalAt(made) <= now) this.changed();
    for (const { names, notAfter } of this.files.entries) {
      const days = Math.floor((notAfter - now) / DAY_MS);
      const key = `${names.join()} ${notAfter} ${days < 0 ? "over" : days < 3 ? "soon" : "ends"}`;
      if (days >= WARN_DAYS || this.warned.has(key)) continue;
      this.warned.add(key);
      const about = `the certificate for ${names.join(", ")}`;
      if (days < 0) this.options.log("error", `${about} has expired on ${dayOf(notAfter)}: clients refuse it`);
      else
        this.options.log(
          "warn",
          `${about} expires on ${dayOf(notAfter)}, in ${days === 1 ? "1 day" : `${days} days`}, and was not renewed`,
        );
    }
  }

  private async send(): Promise<void> {
    if (this.config === undefined) return;
    // The balancers keep their certificates, because this supervisor cannot read all files.
    if (this.files.lacksAuthorities || (this.options.isAdopted && this.files.isIncomplete)) return;
    // The time makes this version higher than any version of an earlier supervisor.
    this.version = Math.max(this.version + 1, Date.now());
    const late = await this.options.certify(this.messages(this.config), APPLY_TIMEOUT_MS);
    if (late.length > 0) this.options.log("warn", `${late.join(", ")} did not confirm the certificates in time`);
  }

  private messages({ minVersion, isClientOptional }: TlsConfig): Certificates[] {
    const { version, challenges } = this;
    const { clientCaPem } = this.files;
    const shared = {
      ...{ type: "certificates" as const, version, minVersion, challenges },
      ticketKey: this.ticketKey.toString("base64"),
      ...(this.config?.automatic?.ask != null && { onDemand: true }),
      ...(clientCaPem !== undefined && { clientCaPem, isClientOptional }),
    };
    const parts = inParts(this.all);
    return parts.map((entries, at) => ({ ...shared, entries, ...(at < parts.length - 1 && { more: true }) }));
  }
}

/** Divides the entries so that each part fits into a message. */
function inParts(entries: readonly CertificateEntry[]): CertificateEntry[][] {
  const parts: CertificateEntry[][] = [[]];
  let bytes = 0;
  for (const entry of entries) {
    const size = entry.certificatePem.length + entry.keyPem.length + entry.names.join().length;
    if (bytes > 0 && bytes + size > MAX_MESSAGE_BYTES) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)?.push(entry);
    bytes += size;
  }
  return parts;
}
