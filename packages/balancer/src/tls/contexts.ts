/** The certificates as contexts of node:tls. Each is created when a client first needs it, and found by the requested name. */
import { constants } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { type CertificateEntry, type Certificates, NO_CHALLENGES } from "@paceline/wire";
import type { ClientHello } from "./client-hello.js";

/** Mozilla's intermediate profile (version 5.7) without DHE, which costs five times as much as ECDHE. */
const CIPHERS = [
  ...["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
  ...["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"],
  ...["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
  ...["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"],
].join(":");

const ACME = "acme-tls/1";

/** Sessions are resumed by any balancer of the fleet, for at most one day. */
const SESSION_SECONDS = 86_400;
const SESSION_CONTEXT = "paceline";

interface Chosen {
  context: SecureContext;
  /** The protocols for ALPN, in order of preference. */
  protocols: readonly string[];
}

type Pair = Pick<CertificateEntry, "names" | "certificatePem" | "keyPem">;

/** The names of HTTP/1 for ALPN. A client that offers only other protocols is refused (RFC 7301 §3.2). */
const HTTP1: readonly string[] = ["http/1.1", "http/1.0"];

export class Contexts {
  version = 0;
  /** The messages of a set that has not arrived completely. */
  private parts: Certificates[] = [];
  private rules: Pick<Certificates, "minVersion" | "clientCaPem" | "isClientOptional" | "ticketKey"> | undefined;
  /** Whether the supervisor can be asked for a certificate for unknown names. */
  private isOnDemand = false;
  /** The responses to http-01 challenges, by token; undefined if there are none. */
  http01: ReadonlyMap<string, string> | undefined;
  private table = new CertificateTable<Pair>([]);
  private challenged = new CertificateTable<Pair>([]);
  private made = new Map<string, SecureContext>();

  /** The protocols for ALPN, in order of preference. */
  protocols: readonly string[] = HTTP1;

  constructor(private readonly onProblem: (message: string) => void) {}

  offerHttp2(): void {
    this.protocols = ["h2", ...HTTP1];
  }

  /** Adds a message. Returns whether it completes a set, which is then used. */
  follow(message: Certificates): boolean {
    if (this.parts[0]?.version !== message.version) this.parts = [];
    this.parts.push(message);
    if (message.more === true) return false;
    const entries = this.parts.flatMap((part) => part.entries);
    this.parts = [];
    const { version, minVersion, clientCaPem, isClientOptional, ticketKey, challenges = NO_CHALLENGES } = message;
    const rules = {
      minVersion,
      ticketKey,
      ...(clientCaPem !== undefined && { clientCaPem, isClientOptional: isClientOptional === true }),
    };
    const isSame = JSON.stringify(rules) === JSON.stringify(this.rules);
    this.rules = rules;
    this.version = version;
    this.table = new CertificateTable(entries);
    this.isOnDemand = message.onDemand === true;
    const { http01 } = challenges;
    this.http01 = http01.length === 0 ? undefined : new Map(http01.map((each) => [each.token, each.keyAuthorization]));
    this.challenged = new CertificateTable(challenges.alpn01.map(({ name, ...pair }) => ({ names: [name], ...pair })));
    // Keeps the contexts of unchanged certificates.
    const kept = new Set([...entries, ...challenges.alpn01].map(({ certificatePem }) => certificatePem));
    for (const key of this.made.keys()) if (!isSame || !kept.has(key)) this.made.delete(key);
    return true;
  }

  /** Whether clients are asked for a certificate, and whether they must have one. */
  get client(): "none" | "optional" | "required" {
    if (this.rules?.clientCaPem === undefined) return "none";
    return this.rules.isClientOptional === true ? "optional" : "required";
  }

  has(name: string): boolean {
    return this.table.has(name);
  }

  /** Whether the supervisor may order a certificate for the requested name. */
  lacks({ name, protocols }: ClientHello & { kind: "hello" }): boolean {
    return this.isOnDemand && name !== "" && !protocols.includes(ACME) && !this.table.has(name);
  }

  /** Returns the context for a client; undefined if there is no certificate. */
  choose({ name, protocols }: ClientHello & { kind: "hello" }): Chosen | undefined {
    const isChallenge = protocols.includes(ACME);
    // With names on demand, the first certificate may belong to another customer.
    if (this.isOnDemand && !isChallenge && name !== "" && !this.table.has(name)) return undefined;
    const pair = (isChallenge ? this.challenged : this.table).find(name);
    const context = pair && this.contextOf(pair);
    return context && { context, protocols: isChallenge ? [ACME] : this.protocols };
  }

  private contextOf({ names, certificatePem, keyPem }: Pair): SecureContext | undefined {
    const known = this.made.get(certificatePem);
    if (known !== undefined || this.rules === undefined) return known;
    const { minVersion, clientCaPem, ticketKey } = this.rules;
    const options: SecureContextOptions = {
      ...{ cert: certificatePem, key: keyPem, ciphers: CIPHERS, minVersion: `TLSv${minVersion}` },
      ...{ sessionIdContext: SESSION_CONTEXT, sessionTimeout: SESSION_SECONDS },
      // A resumed session would keep the certificate of its first handshake, even if it has expired or its authority was removed meanwhile.
      ...(clientCaPem !== undefined && { secureOptions: constants.SSL_OP_NO_TICKET }),
      // Otherwise the runtime's authorities would be used: in each handshake, OpenSSL would search the disk for the issuer of a single
      // certificate.
      ca: clientCaPem ?? certificatePem,
      ticketKeys: Buffer.from(ticketKey, "base64"),
    };
    try {
      const made = createSecureContext(options);
      this.made.set(certificatePem, made);
      return made;
    } catch (error) {
      this.onProblem(`the certificate for ${names.join(", ")} cannot be used: ${(error as Error).message}`);
      return undefined;
    }
  }
}

interface Named {
  readonly names: readonly string[];
}

/** Finds the certificate for the name that a client requests: by the exact name, then by a wildcard; otherwise the first one. */
export class CertificateTable<Entry extends Named> {
  private readonly byName = new Map<string, Entry>();

  /** @param entries if two have the same name, the first one is used */
  constructor(private readonly entries: readonly Entry[]) {
    for (const entry of entries)
      for (const name of entry.names) if (!this.byName.has(name)) this.byName.set(name, entry);
  }

  /** Whether a certificate is for this name. */
  has(name: string): boolean {
    return this.byName.has(name) || this.byName.has(wildcardOf(name));
  }

  /**
   * Returns the certificate; undefined if there is none at all.
   * @param name in lower case; empty without SNI, as for an IP address
   */
  find(name: string): Entry | undefined {
    const exact = this.byName.get(name);
    if (exact !== undefined || name === "") return exact ?? this.entries[0];
    return this.byName.get(wildcardOf(name)) ?? this.entries[0];
  }
}

/** A wildcard stands for one label (RFC 9525 §6.3). */
function wildcardOf(name: string): string {
  return `*${name.slice(name.indexOf("."))}`;
}
