/** Makes certificates (RFC 5280) with keys on the curve P-256, for trying out and for an authority of this machine. */
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

export interface IssuedCertificate {
  certificatePem: string;
  keyPem: string;
}

interface CertificateRequest {
  /** The common name of the subject. */
  name: string;
  /** Names and IP addresses; none for an authority. */
  names: readonly string[];
  /** Who signs it; absent: it signs itself. */
  issuer?: IssuedCertificate;
  isAuthority?: boolean;
  /** In milliseconds of `Date.now`. */
  notBefore: number;
  notAfter: number;
}

/** Tags of ASN.1 (X.690 §8). */
const [BOOLEAN, INTEGER, BITS, OCTETS, OBJECT, UTF8, SEQUENCE, SET, UTC_TIME, TIME] = [
  1, 2, 3, 4, 6, 12, 48, 49, 23, 24,
];

const OBJECTS = {
  ecdsaWithSha256: "2a8648ce3d040302",
  commonName: "550403",
  subjectKeyId: "551d0e",
  keyUsage: "551d0f",
  names: "551d11",
  basicConstraints: "551d13",
  issuerKeyId: "551d23",
  extendedUsage: "551d25",
  serverAuth: "2b06010505070301",
} as const;

/** Bits of keyUsage, with the number of unused ones first. */
const USAGE = { authority: [1, 0x06], server: [7, 0x80] };

/** Makes a certificate with a new key. */
export function issueCertificate(request: CertificateRequest): IssuedCertificate {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const keyPem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  const issuer = request.issuer && {
    key: createPrivateKey(request.issuer.keyPem),
    certificate: new X509Certificate(request.issuer.certificatePem),
  };
  const subject = nameOf(request.name);
  const algorithm = tagged(SEQUENCE, object("ecdsaWithSha256"));
  const body = tagged(
    SEQUENCE,
    tagged(0xa0, tagged(INTEGER, Buffer.from([2]))),
    tagged(INTEGER, serialNumber()),
    algorithm,
    issuer === undefined ? subject : nameOf(commonNameOf(issuer.certificate)),
    tagged(SEQUENCE, time(request.notBefore), time(request.notAfter)),
    subject,
    publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, tagged(SEQUENCE, ...extensionsOf(request, publicKey, issuer?.key))),
  );
  const signature = sign("sha256", body, issuer?.key ?? privateKey);
  const der = tagged(SEQUENCE, body, algorithm, tagged(BITS, Buffer.from([0]), signature));
  return { certificatePem: pemOf(der), keyPem };
}

function extensionsOf(
  { names, isAuthority = false }: CertificateRequest,
  own: KeyObject,
  issuer: KeyObject | undefined,
): Buffer[] {
  const issuerKey = issuer === undefined ? own : createPublicKey(issuer);
  const usage = isAuthority ? USAGE.authority : USAGE.server;
  const extensions = [
    extension(
      "basicConstraints",
      tagged(SEQUENCE, ...(isAuthority ? [tagged(BOOLEAN, Buffer.from([255]))] : [])),
      true,
    ),
    extension("keyUsage", tagged(BITS, Buffer.from(usage)), true),
    extension("subjectKeyId", tagged(OCTETS, keyId(own))),
    extension("issuerKeyId", tagged(SEQUENCE, tagged(0x80, keyId(issuerKey)))),
  ];
  if (isAuthority) return extensions;
  return [
    ...extensions,
    extension("extendedUsage", tagged(SEQUENCE, object("serverAuth"))),
    extension("names", tagged(SEQUENCE, ...names.map(alternativeName))),
  ];
}

function extension(name: keyof typeof OBJECTS, value: Buffer, isCritical = false): Buffer {
  const critical = isCritical ? [tagged(BOOLEAN, Buffer.from([255]))] : [];
  return tagged(SEQUENCE, object(name), ...critical, tagged(OCTETS, value));
}

function alternativeName(name: string): Buffer {
  return isIP(name) === 0 ? tagged(0x82, Buffer.from(name, "latin1")) : tagged(0x87, addressBytes(name));
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
  const attribute = tagged(SEQUENCE, object("commonName"), tagged(UTF8, Buffer.from(commonName)));
  return tagged(SEQUENCE, tagged(SET, attribute));
}

function commonNameOf({ subject }: X509Certificate): string {
  return /^CN=(.*)$/m.exec(subject)?.[1] ?? "";
}

/** Positive, and not longer than 20 bytes (§4.1.2.2). */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return bytes;
}

/** Years until 2049 have two digits (§4.1.2.5). */
function time(at: number): Buffer {
  const digits = `${new Date(at).toISOString().replace(/\.\d+/, "").replaceAll(/[-:T]/g, "")}`;
  const isShort = Number(digits.slice(0, 4)) < 2050;
  return tagged(isShort ? UTC_TIME : TIME, Buffer.from(isShort ? digits.slice(2) : digits, "latin1"));
}

/** The hash of the key's bits (§4.2.1.2), which are the end of a key on this curve. */
function keyId(key: KeyObject): Buffer {
  const bits = key.export({ type: "spki", format: "der" }).subarray(-65);
  return createHash("sha1").update(bits).digest();
}

function object(name: keyof typeof OBJECTS): Buffer {
  return tagged(OBJECT, Buffer.from(OBJECTS[name], "hex"));
}

function tagged(tag: number | undefined, ...contents: Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag ?? 0, ...size]), content]);
}

function pemOf(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
