/** Makes and reads what node:crypto cannot: requests for certificates (RFC 2986), certificates of our own (RFC 5280), and the key of their issuer. */
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import { bits, der, integer, octets, oid, readDer, sequence, set, TAG, tagged, time, truth } from "./der.js";

const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
const COMMON_NAME = "2.5.4.3";
const EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
const SUBJECT_ALT_NAME = "2.5.29.17";
const AUTHORITY_KEY_ID = "2.5.29.35";
/** RFC 8737. */
const ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31";

/** Returns a new key of the curve P-256. */
export function newKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

export function pemOf(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }) as string;
}

/** Returns a request for a certificate of these DNS names, in DER. @param key of P-256 */
export function certificateRequest(names: readonly string[], key: KeyObject): Buffer {
  const extensions = sequence(extension(SUBJECT_ALT_NAME, namesOf(names)));
  const attributes = tagged(0, sequence(oid(EXTENSION_REQUEST), set(extensions)));
  const info = sequence(integer(Buffer.of(0)), sequence(), publicKeyOf(key), attributes);
  return signed(info, key);
}

/** Returns the certificate with which a name responds to tls-alpn-01, in PEM. @param keyAuthorization of the challenge */
export function alpnCertificate(name: string, keyAuthorization: string, key: KeyObject, now: number): string {
  const digest = createHash("sha256").update(keyAuthorization).digest();
  const extensions = sequence(
    extension(SUBJECT_ALT_NAME, namesOf([name])),
    extension(ACME_IDENTIFIER, octets(digest), true),
  );
  const subject = sequence(set(sequence(oid(COMMON_NAME), der(TAG.utf8, Buffer.from(name.slice(0, 64))))));
  const info = sequence(
    tagged(0, integer(Buffer.of(2))),
    integer(serial()),
    algorithm(),
    subject,
    sequence(time(now - HOUR_MS), time(now + DAY_MS)),
    subject,
    publicKeyOf(key),
    tagged(3, extensions),
  );
  return toPem(signed(info, key));
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

function serial(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes;
}

function signed(info: Buffer, key: KeyObject): Buffer {
  return sequence(info, algorithm(), bits(sign("sha256", info, key)));
}

function algorithm(): Buffer {
  return sequence(oid(ECDSA_WITH_SHA256));
}

function publicKeyOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: "spki", format: "der" }) as Buffer;
}

function extension(id: string, value: Buffer, isCritical = false): Buffer {
  return isCritical ? sequence(oid(id), truth(), octets(value)) : sequence(oid(id), octets(value));
}

function namesOf(names: readonly string[]): Buffer {
  return sequence(...names.map((name) => tagged(2, Buffer.from(name, "latin1"), false)));
}

function toPem(bytes: Buffer): string {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/** Returns the id by which a CA tells when to renew a certificate (RFC 9773); undefined if it names no key of its issuer. */
export function renewalId(certificate: X509Certificate): string | undefined {
  try {
    const [whole] = readDer(certificate.raw);
    const [info] = readDer(whole?.content ?? Buffer.alloc(0));
    const fields = readDer(info?.content ?? Buffer.alloc(0));
    const serialNumber = fields[fields[0]?.tag === 0xa0 ? 1 : 0]?.content;
    const [extensions] = readDer(fields.find(({ tag }) => tag === 0xa3)?.content ?? Buffer.alloc(0));
    const wanted = oid(AUTHORITY_KEY_ID);
    for (const { content } of readDer(extensions?.content ?? Buffer.alloc(0))) {
      const parts = readDer(content);
      const value = parts.at(-1);
      if (value === undefined || parts[0]?.whole.equals(wanted) !== true) continue;
      const [identifier] = readDer(value.content);
      const keyId = readDer(identifier?.content ?? Buffer.alloc(0)).find(({ tag }) => tag === 0x80)?.content;
      if (keyId === undefined || serialNumber === undefined) return undefined;
      return `${keyId.toString("base64url")}.${serialNumber.toString("base64url")}`;
    }
    return undefined;
  } catch {
    return undefined; // Then it has no such id.
  }
}

/** Returns the names of a certificate for servers, and how long it lasts. @throws if it is malformed */
export function readCertificate(pem: string): {
  names: string[];
  issuer: string;
  notBefore: number;
  notAfter: number;
  certificate: X509Certificate;
} {
  const certificate = new X509Certificate(pem);
  const names = (certificate.subjectAltName ?? "")
    .split(", ")
    .flatMap((entry) => (entry.startsWith("DNS:") ? [entry.slice(4).toLowerCase()] : []));
  const issuer = /(?:^|\n)(?:CN|O)=([^\n]*)/.exec(certificate.issuer)?.[1] ?? certificate.issuer.replaceAll("\n", ", ");
  const notBefore = Date.parse(certificate.validFrom);
  const notAfter = Date.parse(certificate.validTo);
  if (!Number.isFinite(notBefore) || !Number.isFinite(notAfter)) throw new RangeError("it has no valid dates");
  return { names, issuer, notBefore, notAfter, certificate };
}
