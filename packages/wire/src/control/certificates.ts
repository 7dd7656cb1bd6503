/**
 * The messages about TLS for balancers: certificates with their keys, session ticket keys, and the challenges of a certificate authority.
 */
import {
  type Fields,
  fieldsOf,
  isAmount,
  isCount,
  isFlag,
  isText,
  listOf,
  oneOf,
  optional,
  problemIn,
} from "./checks.js";

/** The possible sources of a certificate. */
const CERTIFICATE_SOURCES = ["file", "self-signed", "internal", "automatic"] as const;

export type CertificateSource = (typeof CERTIFICATE_SOURCES)[number];

/** A certificate for names: exact ones, `*.example.com`, and IP addresses. */
export interface CertificateEntry {
  /** In lower case. */
  names: string[];
  /** The certificate, followed by the intermediate ones. */
  certificatePem: string;
  keyPem: string;
  source: CertificateSource;
  /** In milliseconds since 1970. */
  notAfter: number;
}

/** The responses to a certificate authority's challenges (RFC 8555 §8.3, RFC 8737). */
export interface Challenges {
  http01: { token: string; keyAuthorization: string }[];
  alpn01: { name: string; certificatePem: string; keyPem: string }[];
}

export const NO_CHALLENGES: Challenges = { http01: [], alpn01: [] };

const TLS_VERSIONS = ["1.2", "1.3"] as const;

export type TlsVersion = (typeof TLS_VERSIONS)[number];

/** The rules for TLS with clients. */
interface TlsRules {
  /** The lowest version. */
  minVersion: TlsVersion;
  /** The certificates of the authorities for client certificates, in PEM. If absent, clients need no certificate. */
  clientCaPem?: string;
  /** Whether clients without a certificate may also connect. */
  isClientOptional?: boolean;
}

/**
 * To a balancer: everything for TLS. It replaces the previous set. A large set is sent in several messages of one version, whose entries
 * are joined. After the last message, the balancer uses the set and confirms it with `applied`.
 */
export interface Certificates extends TlsRules {
  type: "certificates";
  version: number;
  /** Whether further messages of this version follow. */
  more?: boolean;
  entries: CertificateEntry[];
  /** Whether the supervisor can be asked for a certificate for other names (`wantCertificate`). */
  onDemand?: boolean;
  /** The key of session tickets, 48 bytes in base64. */
  ticketKey: string;
  challenges: Challenges;
}

const isEntry = fieldsOf<CertificateEntry>({
  names: listOf(isText),
  ...{ certificatePem: isText, keyPem: isText, source: isText, notAfter: isAmount },
});

const isChallenges = fieldsOf<Challenges>({
  http01: listOf(fieldsOf<Challenges["http01"][number]>({ token: isText, keyAuthorization: isText })),
  alpn01: listOf(fieldsOf<Challenges["alpn01"][number]>({ name: isText, certificatePem: isText, keyPem: isText })),
});

/** Returns what is wrong with a received message; undefined if it is valid. */
export function certificatesProblem(message: Fields): string | undefined {
  return problemIn<Certificates>(message, {
    version: isCount,
    entries: listOf(isEntry),
    ticketKey: isText,
    onDemand: optional(isFlag),
    minVersion: oneOf(...TLS_VERSIONS),
    clientCaPem: optional(isText),
    challenges: isChallenges,
  });
}
