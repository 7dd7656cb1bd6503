/** Reads a certificate and its key from files, and reports problems with them. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { CertificateFiles } from "../core/model.js";
import { readSecretFile } from "./secrets.js";

export interface ReadCertificate {
  /** In lower case: names, wildcards and IP addresses. */
  names: string[];
  /** Without anything but certificates. */
  certificatePem: string;
  keyPem: string;
  /** In milliseconds of `Date.now`. */
  notBefore: number;
  notAfter: number;
  /** Who has signed it, for people. */
  issuer: string;
}

export interface CertificateProblem {
  /** The key of the file that is wrong. */
  file: keyof CertificateFiles;
  /** A sentence with the file's path. */
  problem: string;
  /** The system's code, if the file cannot be read. */
  code?: string | undefined;
}

const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const KEY = /-----BEGIN ([A-Z ]*)PRIVATE KEY-----[^-]+-----END \1PRIVATE KEY-----/;

export function readCertificate(files: CertificateFiles): ReadCertificate | CertificateProblem {
  const texts: Partial<CertificateFiles> = {};
  for (const file of ["certificate", "key"] as const) {
    const read = readSecretFile(files[file]);
    if ("problem" in read) return { file, problem: `${files[file]} ${read.problem}`, code: read.code };
    texts[file] = read.text;
  }
  return parseCertificate(texts as CertificateFiles, files);
}

/** @param names of the files, for messages */
export function parseCertificate(
  texts: CertificateFiles,
  names: CertificateFiles,
): ReadCertificate | CertificateProblem {
  const chain = texts.certificate.match(CERTIFICATES) ?? [];
  const [keyPem] = KEY.exec(texts.key) ?? [];
  const bad = (file: keyof CertificateFiles, problem: string) => ({ file, problem: `${names[file]} ${problem}` });
  const [first] = chain;
  if (first === undefined) return bad("certificate", "has no certificate in PEM (-----BEGIN CERTIFICATE-----)");
  if (keyPem === undefined) return bad("key", "has no private key in PEM (-----BEGIN PRIVATE KEY-----)");
  if (keyPem.includes("ENCRYPTED"))
    return bad("key", `is encrypted; decrypt it with: openssl pkey -in ${names.key} -out NEW-FILE`);
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(first);
  } catch {
    return bad("certificate", "has a certificate that cannot be read");
  }
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem)))
      return bad("key", `is not the key of the certificate in ${names.certificate}`);
  } catch {
    return bad("key", "has a private key that cannot be read");
  }
  return {
    names: namesOf(certificate),
    certificatePem: `${chain.join("\n")}\n`,
    keyPem: `${keyPem}\n`,
    notBefore: Date.parse(certificate.validFrom),
    notAfter: Date.parse(certificate.validTo),
    issuer: commonName(certificate.issuer),
  };
}

/** Clients look at the alternative names only (RFC 9525 §6). */
function namesOf({ subjectAltName = "" }: X509Certificate): string[] {
  const names = [...subjectAltName.matchAll(/(?:^|, )(?:DNS|IP Address):([^,]+)/g)].map(([, name = ""]) => name);
  return [...new Set(names.map((name) => name.toLowerCase()))];
}

function commonName(subject: string): string {
  const [, name] = /^CN=(.*)$/m.exec(subject) ?? /^O=(.*)$/m.exec(subject) ?? [];
  return name ?? subject.replaceAll("\n", ", ");
}

/** Whether a certificate is for this name. */
export function covers(names: readonly string[], name: string): boolean {
  return names.includes(name) || names.includes(`*${name.slice(name.indexOf("."))}`);
}

/** Returns the certificates of a file with those of authorities. */
export function readAuthorities(path: string): { pem: string } | { problem: string; code?: string | undefined } {
  const read = readSecretFile(path);
  if ("problem" in read) return { problem: `${path} ${read.problem}`, code: read.code };
  const found = read.text.match(CERTIFICATES) ?? [];
  if (found.length === 0) return { problem: `${path} has no certificate in PEM (-----BEGIN CERTIFICATE-----)` };
  for (const pem of found) {
    try {
      new X509Certificate(pem);
    } catch {
      return { problem: `${path} has a certificate that cannot be read` };
    }
  }
  return { pem: `${found.join("\n")}\n` };
}
