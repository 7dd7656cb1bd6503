/** Creates certificates (RFC 5280) with P-256 keys: self-signed ones, an internal authority, and challenges. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import { isIP, isIPv4 } from "node:net";
import { bits, der, integer, octets, oid, sequence, set, TAG, tagged, time, truth } from "./der.js";

export interface IssuedCertificate {
  certificatePem: string;
  keyPem: string;
}

interface CertificateRequest {
  /** The common name of the subject. */
  name: string;
  /** Names and IP addresses; empty for an authority. */
  names: readonly string[];
  /** The signer; absent: self-signed. */
  issuer?: IssuedCertificate;
  isAuthority?: boolean;
  /** In milliseconds since 1970. */
  notBefore: number;
  notAfter: number;
}

const COMMON_NAME = "2.5.4.3";
const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";

export const EXTENSION = {
  subjectKeyId: "2.5.29.14",
  keyUsage: "2.5.29.15",
  names: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  issuerKeyId: "2.5.29.35",
  extendedUsage: "2.5.29.37",
  /** The identifier of acme-tls/1 (RFC 8737). */
  acmeIdentifier: "1.3.6.1.5.5.7.1.31",
} as const;

/** The bits of keyUsage, after the number of unused bits. */
const USAGE = { authority: Buffer.of(1, 0x06), server: Buffer.of(7, 0x80) };

export function newKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

export function pemOf(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }) as string;
}

/** Creates a certificate with a new key. */
export function issueCertificate(request: CertificateRequest): IssuedCertificate {
  const key = newKey();
  const issuer = request.issuer && {
    key: createPrivateKey(request.issuer.keyPem),
    name: commonNameOf(new X509Certificate(request.issuer.certificatePem)),
  };
  const certificatePem = certificateOf({
    subject: request.name,
    issuer: issuer?.name ?? request.name,
    notBefore: request.notBefore,
    notAfter: request.notAfter,
    key,
    issuerKey: issuer?.key ?? key,
    extensions: extensionsOf(request, key, issuer?.key ?? key),
  });
  return { certificatePem, keyPem: pemOf(key) };
}

/** @returns the signed certificate, in PEM */
export function certificateOf(fields: {
  /** Common names. */
  subject: string;
  issuer: string;
  /** In milliseconds since 1970. */
  notBefore: number;
  notAfter: number;
  key: KeyObject;
  issuerKey: KeyObject;
  extensions: readonly Buffer[];
}): string {
  const body = sequence(
    tagged(0, integer(Buffer.of(2))),
    integer(serialNumber()),
    algorithm(),
    nameOf(fields.issuer),
    sequence(time(fields.notBefore), time(fields.notAfter)),
    nameOf(fields.subject),
    publicKeyOf(fields.key),
    tagged(3, sequence(...fields.extensions)),
  );
  const lines =
    signed(body, fields.issuerKey)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/** Returns a signed structure: a certificate, or a request for one. */
export function signed(body: Buffer, key: KeyObject): Buffer {
  return sequence(body, algorithm(), bits(sign("sha256", body, key)));
}

function algorithm(): Buffer {
  return sequence(oid(ECDSA_WITH_SHA256));
}

export function publicKeyOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: "spki", format: "der" }) as Buffer;
}

function extensionsOf({ names, isAuthority = false }: CertificateRequest, own: KeyObject, issuer: KeyObject): Buffer[] {
  const usage = isAuthority ? USAGE.authority : USAGE.server;
  const extensions = [
    extension(EXTENSION.basicConstraints, sequence(...(isAuthority ? [truth()] : [])), true),
    extension(EXTENSION.keyUsage, der(TAG.bitString, usage), true),
    extension(EXTENSION.subjectKeyId, octets(keyId(own))),
    extension(EXTENSION.issuerKeyId, sequence(tagged(0, keyId(issuer), false))),
  ];
  if (isAuthority) return extensions;
  return [...extensions, extension(EXTENSION.extendedUsage, sequence(oid(SERVER_AUTH))), namesExtension(names)];
}

export function extension(id: string, value: Buffer, isCritical = false): Buffer {
  return isCritical ? sequence(oid(id), truth(), octets(value)) : sequence(oid(id), octets(value));
}

/** @param names DNS names and IP addresses */
export function namesExtension(names: readonly string[]): Buffer {
  return extension(EXTENSION.names, sequence(...names.map(alternativeName)));
}

function alternativeName(name: string): Buffer {
  return isIP(name) === 0 ? tagged(2, Buffer.from(name, "latin1"), false) : tagged(7, addressBytes(name), false);
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  // The URL parser writes all groups in hexadecimal.
  const [left = "", right] = new URL(`http://[${address.replace(/%.*/, "")}]`).hostname.slice(1, -1).split("::");
  const groups = (part: string | undefined) => (part === undefined || part === "" ? [] : part.split(":"));
  const [first, last] = [groups(left), groups(right)];
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => "0");
  const bytes = Buffer.alloc(16);
  for (const [at, group] of [...first, ...zeros, ...last].entries())
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * at);
  return bytes;
}

function nameOf(commonName: string): Buffer {
  return sequence(set(sequence(oid(COMMON_NAME), der(TAG.utf8, Buffer.from(commonName)))));
}

function commonNameOf({ subject }: X509Certificate): string {
  return /^CN=(.*)$/m.exec(subject)?.[1] ?? "";
}

/** Returns a positive number of at most 20 bytes (RFC 5280 §4.1.2.2). */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return bytes;
}

/** Returns the hash of the key's bits (RFC 5280 §4.2.1.2). On this curve they are the end of the encoded key. */
function keyId(key: KeyObject): Buffer {
  return createHash("sha1").update(publicKeyOf(key).subarray(-65)).digest();
}
