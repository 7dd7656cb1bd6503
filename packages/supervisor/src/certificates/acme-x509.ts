/**
 * The parts of X.509 for ACME that node:crypto lacks: certificate requests (RFC 2986), tls-alpn-01 certificates (RFC 8737), and the
 * issuer's key id.
 */
import { createHash, type KeyObject, X509Certificate } from "node:crypto";
import { integer, octets, oid, readDer, sequence, set, tagged } from "./der.js";
import { certificateOf, EXTENSION, extension, namesExtension, publicKeyOf, signed } from "./x509.js";

const EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/**
 * Returns a request for a certificate of these DNS names, in DER.
 * @param key a P-256 key
 */
export function certificateRequest(names: readonly string[], key: KeyObject): Buffer {
  const attributes = tagged(0, sequence(oid(EXTENSION_REQUEST), set(sequence(namesExtension(names)))));
  return signed(sequence(integer(Buffer.of(0)), sequence(), publicKeyOf(key), attributes), key);
}

/**
 * Returns the certificate with which a name responds to tls-alpn-01, in PEM.
 * @param keyAuthorization the key authorization of the challenge
 */
export function alpnCertificate(name: string, keyAuthorization: string, key: KeyObject, now: number): string {
  const digest = createHash("sha256").update(keyAuthorization).digest();
  const subject = name.slice(0, 64);
  return certificateOf({
    ...{ subject, issuer: subject, notBefore: now - HOUR_MS, notAfter: now + DAY_MS, key, issuerKey: key },
    extensions: [namesExtension([name]), extension(EXTENSION.acmeIdentifier, octets(digest), true)],
  });
}

/** Returns the id of a certificate for renewal information (RFC 9773); undefined if it has no authority key identifier. */
export function renewalId(certificate: X509Certificate): string | undefined {
  try {
    const [whole] = readDer(certificate.raw);
    const [info] = readDer(whole?.content ?? Buffer.alloc(0));
    const fields = readDer(info?.content ?? Buffer.alloc(0));
    const serialNumber = fields[fields[0]?.tag === 0xa0 ? 1 : 0]?.content;
    const [extensions] = readDer(fields.find(({ tag }) => tag === 0xa3)?.content ?? Buffer.alloc(0));
    const wanted = oid(EXTENSION.issuerKeyId);
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
    return undefined; // Such a certificate has no id.
  }
}

/**
 * Returns the names and the lifetime of a server certificate.
 * @throws if it is malformed
 */
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
