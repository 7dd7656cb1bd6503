/** Reads a certificate and its key from files, and reports problems with them. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import type { CertificateFiles } from "../core/model.js";
import { type FileProblem, readSmallFile } from "./secrets.js";

export interface ReadCertificate {
  /** In lower case: names, wildcards and IP addresses. */
  names: string[];
  /** Whether its only name is the common name, so that browsers refuse it. */
  lacksNames: boolean;
  /** The certificates alone, without other contents of the file. */
  certificatePem: string;
  keyPem: string;
  /** In milliseconds since 1970. */
  notBefore: number;
  notAfter: number;
  /** The issuer, for display. */
  issuer: string;
}

interface CertificateProblem {
  /** The key of the file with the problem. */
  file: keyof CertificateFiles;
  /** A sentence with the file's path. */
  problem: string;
  /** The system's error code, if the file cannot be read. */
  code?: string | undefined;
}

const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const KEY = /-----BEGIN ([A-Z ]*)PRIVATE KEY-----[\s\S]+?-----END \1PRIVATE KEY-----/;
const NO_CERTIFICATE = "has no certificate in PEM (-----BEGIN CERTIFICATE-----)";

export function readCertificate(files: CertificateFiles): ReadCertificate | CertificateProblem {
  const texts: Partial<CertificateFiles> = {};
  for (const file of ["certificate", "key"] as const) {
    const read = readPem(files[file]);
    if ("problem" in read) return { file, problem: `${files[file]} ${read.problem}`, code: read.code };
    texts[file] = read.text;
  }
  return parseCertificate(texts as CertificateFiles, files);
}

function readPem(path: string): { text: string } | FileProblem {
  const read = readSmallFile(path);
  if (!("bytes" in read)) return read;
  const { bytes } = read;
  if (bytes.length === 0) return { problem: "is empty" };
  const problem = binaryProblem(bytes, path);
  return problem === undefined ? { text: bytes.toString("latin1") } : { problem };
}

/** A SEQUENCE, with which each of these files starts in DER. */
const DER_SEQUENCE = 0x30;
/** The version of PKCS #12 (RFC 7292 §4), after the SEQUENCE. */
const PKCS12_VERSION = Buffer.of(2, 1, 3);

/** Returns how to convert a file that is not in PEM; undefined if it does not look binary. */
function binaryProblem(bytes: Buffer, path: string): string | undefined {
  if (bytes[0] !== DER_SEQUENCE || bytes.includes("-----BEGIN ")) return undefined;
  const convert = (command: string) => `convert it with: openssl ${command} -in ${path} -out NEW-FILE`;
  if (bytes.subarray(2, 8).includes(PKCS12_VERSION)) return `is in PKCS #12, not in PEM; ${convert("pkcs12 -nodes")}`;
  const isCertificate = canRead(() => new X509Certificate(bytes));
  return `is in DER, not in PEM; ${convert(`${isCertificate ? "x509" : "pkey"} -inform DER`)}`;
}

function canRead(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch {
    return false;
  }
}

/** @param names of the files, for messages */
function parseCertificate(texts: CertificateFiles, names: CertificateFiles): ReadCertificate | CertificateProblem {
  const chain = texts.certificate.match(CERTIFICATES) ?? [];
  const [keyPem] = KEY.exec(texts.key) ?? [];
  const bad = (file: keyof CertificateFiles, problem: string) => ({ file, problem: `${names[file]} ${problem}` });
  const [first] = chain;
  if (first === undefined) return bad("certificate", NO_CERTIFICATE);
  if (keyPem === undefined) return bad("key", "has no private key in PEM (-----BEGIN PRIVATE KEY-----)");
  // PKCS #8 marks encryption in the first line, the older form in Proc-Type.
  if (keyPem.includes("ENCRYPTED"))
    return bad("key", `is encrypted; decrypt it with: openssl pkey -in ${names.key} -out NEW-FILE`);
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(first);
  } catch {
    return bad("certificate", "has a certificate that cannot be read");
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(keyPem);
  } catch {
    // BoringSSL supports no keys on other curves.
    return bad("key", isOnCurve(keyPem) ? OTHER_CURVE : "has a private key that cannot be read");
  }
  const { namedCurve, modulusLength = MIN_RSA_BITS } = key.asymmetricKeyDetails ?? {};
  if (namedCurve === "secp256k1") return bad("key", OTHER_CURVE);
  if (!isOfKey(certificate, key)) {
    const isLater = chain
      .slice(1)
      .some((pem) => canRead(() => new X509Certificate(pem)) && isOfKey(new X509Certificate(pem), key));
    return isLater
      ? bad(
          "certificate",
          "has its certificates in the wrong order: the one of the server must come first, then the intermediate that signed it",
        )
      : bad("key", `is not the key of the certificate in ${names.certificate}`);
  }
  // Bun accepts shorter keys, but a balancer may run on Node.
  if (modulusLength < MIN_RSA_BITS)
    return bad("key", `is an RSA key of ${modulusLength} bits, which is too short for TLS; use 2048`);
  const refusal = refusalOf(chain.join("\n"), keyPem);
  if (refusal !== undefined) return bad("certificate", `has a certificate that TLS refuses: ${refusal}`);
  return {
    ...namesOf(certificate),
    certificatePem: `${chain.join("\n")}\n`,
    keyPem: `${keyPem}\n`,
    notBefore: Date.parse(certificate.validFrom),
    notAfter: Date.parse(certificate.validTo),
    issuer: commonName(certificate.issuer),
  };
}

/** The minimum that every runtime accepts. */
const MIN_RSA_BITS = 1024;
const OTHER_CURVE = "is on an elliptic curve that TLS clients do not support; use prime256v1 (P-256) or secp384r1";
/** The object identifier of keys on elliptic curves (RFC 5480 §2.1.1), in DER. */
const ON_CURVE = Buffer.of(0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01);

function isOnCurve(pem: string): boolean {
  return pem.includes("BEGIN EC ") || Buffer.from(pem.replace(/-----[^-]+-----/g, ""), "base64").includes(ON_CURVE);
}

/** Returns why this runtime would not serve the certificate; undefined if it would. */
function refusalOf(cert: string, key: string): string | undefined {
  try {
    process.getBuiltinModule("node:tls").createSecureContext({ cert, key });
    return undefined;
  } catch (error) {
    // "error:0A00018F:SSL routines::ee key too small" in OpenSSL.
    return (error as Error).message.replace(/^.*::?/, "").trim();
  }
}

function isOfKey(certificate: X509Certificate, key: KeyObject): boolean {
  return canRead(() => certificate.publicKey) && certificate.checkPrivateKey(key);
}

/** Browsers use only the alternative names (RFC 9525 §6). Some other programs use the common name if there are none. */
function namesOf({ subjectAltName = "", subject }: X509Certificate): Pick<ReadCertificate, "names" | "lacksNames"> {
  const names = [...subjectAltName.matchAll(/(?:^|, )(?:DNS|IP Address):([^,]+)/g)].map(([, name = ""]) => name);
  const lacksNames = names.length === 0;
  if (lacksNames) names.push(commonName(subject) || "no name");
  return { names: [...new Set(names.map((name) => name.toLowerCase()))], lacksNames };
}

function commonName(subject: string): string {
  const [, name] = /^CN=(.*)$/m.exec(subject) ?? /^O=(.*)$/m.exec(subject) ?? [];
  return name ?? subject.replaceAll("\n", ", ");
}

/** Whether a certificate covers this name. */
export function covers(names: readonly string[], name: string): boolean {
  return names.includes(name) || names.includes(`*${name.slice(name.indexOf("."))}`);
}

/** Returns the authority certificates in a file. */
export function readAuthorities(path: string): { pem: string } | FileProblem {
  const read = readPem(path);
  if ("problem" in read) return { problem: `${path} ${read.problem}`, code: read.code };
  const found = read.text.match(CERTIFICATES) ?? [];
  if (found.length === 0) return { problem: `${path} ${NO_CERTIFICATE}` };
  if (!found.every((pem) => canRead(() => new X509Certificate(pem))))
    return { problem: `${path} has a certificate that cannot be read` };
  return { pem: `${found.join("\n")}\n` };
}

/** Returns a sentence for each certificate that browsers refuse for its names. */
export function certificateWarnings(certificates: readonly CertificateFiles[]): string[] {
  return certificates.flatMap((files) => {
    const read = readCertificate(files);
    if ("problem" in read || !read.lacksNames) return [];
    const [name = ""] = read.names;
    const wanted = /^[a-z0-9.*_-]+$/.test(name) ? name : "NAME, with the name that clients use";
    return [
      `the certificate in ${files.certificate} has no subject alternative name, only the common name ${name}: browsers refuse it; request it again with -addext subjectAltName=DNS:${wanted}`,
    ];
  });
}
