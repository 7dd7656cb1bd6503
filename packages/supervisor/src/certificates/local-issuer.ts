/** Makes certificates: self-signed, or signed by the fleet's authority, whose root is kept across stops and starts. */
import { existsSync, mkdirSync } from "node:fs";
import { hostname, networkInterfaces } from "node:os";
import { dirname, join } from "node:path";
import type { CertificateEntry } from "@paceline/wire";
import { readCertificate } from "../config/certificate-files.js";
import type { ListenAddress, TlsConfig } from "../core/model.js";
import { readFleetFile } from "../run-dir/fleet-file.js";
import { replaceFile } from "../run-dir/run-dir-files.js";
import { type IssuedCertificate, issueCertificate } from "./x509.js";

const DAY_MS = 24 * 3_600_000;
const ROOT_DAYS = 3650;
/** The lifetime of a leaf certificate. The certificate is replaced after two thirds of this time. */
const LEAF_DAYS = 30;
/** How long before its creation a certificate begins, because clocks of clients may be behind. */
const EARLIER_MS = DAY_MS;

/** Returns the names of certificates that are made here: those of `listen`, and those of this machine. */
export function localNames(listen: readonly ListenAddress[], names: readonly string[]): string[] {
  const addresses = listen.flatMap((address) =>
    address.kind === "tcp" && address.tls?.names.length === 0 ? [address.host] : [],
  );
  const isEverywhere = addresses.some((host) => host === "0.0.0.0" || host === "::");
  const everywhere = isEverywhere
    ? [
        hostname().toLowerCase(),
        ...Object.values(networkInterfaces()).flatMap((all = []) => all.map(({ address }) => address)),
      ]
    : [];
  const own = addresses.filter((host) => host !== "0.0.0.0" && host !== "::");
  const all = [...names, "localhost", "127.0.0.1", "::1", ...own, ...everywhere];
  return [...new Set(all.filter((name) => /^[a-z0-9:.-]+$/.test(name)))];
}

/** Creates a certificate for these names. */
export function issueLocally(
  kind: NonNullable<TlsConfig["issuer"]>,
  names: readonly string[],
  root: IssuedCertificate | undefined,
  now: number,
): CertificateEntry {
  const notAfter = now + LEAF_DAYS * DAY_MS;
  const issued = issueCertificate({
    ...{ name: names[0] ?? "localhost", names, notBefore: now - EARLIER_MS, notAfter },
    ...(root !== undefined && { issuer: root }),
  });
  return { names: [...names], ...issued, source: kind, notAfter };
}

/** Returns when a certificate is replaced. */
export function renewalAt({ notAfter }: Pick<CertificateEntry, "notAfter">): number {
  return notAfter - (LEAF_DAYS * DAY_MS) / 3;
}

const ROOT = "root.pem";

interface Root {
  root: IssuedCertificate;
  path: string;
  isNew: boolean;
}

/** Reads the fleet's authority, or makes it. @throws Error if it is damaged or cannot be kept */
export function authorityIn(folder: string, fleet: string, now: number): Root {
  const [path, keyPath] = [join(folder, ROOT), join(folder, "root-key.pem")];
  const known = readAuthority(path, keyPath, now);
  if (known !== undefined) return { root: known, path, isNew: false };
  const root = issueCertificate({
    ...{ name: `Paceline authority of ${fleet}`.slice(0, 64), names: [], isAuthority: true },
    ...{ notBefore: now - EARLIER_MS, notAfter: now + ROOT_DAYS * DAY_MS },
  });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  replaceFile(keyPath, root.keyPem);
  replaceFile(path, root.certificatePem);
  return { root, path, isNew: true };
}

/**
 * Returns undefined if there is no authority, or if the authority expires before a leaf would.
 * @throws Error if the authority is damaged: clients trust it, so nothing replaces it
 */
function readAuthority(path: string, keyPath: string, now: number): IssuedCertificate | undefined {
  if (!existsSync(path) && !existsSync(keyPath)) return undefined;
  const read = readCertificate({ certificate: path, key: keyPath });
  if ("problem" in read)
    throw new Error(
      `${read.problem}; put back both files of the authority, ${path} and ${keyPath}, or remove both to get a new one, which clients must then trust`,
    );
  const { certificatePem, keyPem, notAfter } = read;
  return notAfter > now + LEAF_DAYS * DAY_MS ? { certificatePem, keyPem } : undefined;
}

/**
 * Returns the instructions for clients that should trust the authority.
 * @param path of its root certificate
 */
export function trustText(path: string): string {
  return `clients must trust ${path}: curl --cacert ${path}, or for all programs on Debian: sudo cp ${path} /usr/local/share/ca-certificates/paceline.crt && sudo update-ca-certificates`;
}

/** Returns these instructions for a running fleet; undefined if it has no authority. */
export function trustHint(runDir: string): string | undefined {
  const folder = readFleetFile(runDir)?.deathsFolder;
  const root = folder === undefined ? undefined : join(dirname(folder), "tls", ROOT);
  return root !== undefined && existsSync(root) ? trustText(root) : undefined;
}
