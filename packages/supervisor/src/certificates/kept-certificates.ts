/** The automatic certificates in use, and the names on demand among them; both are kept in files across starts. */
import type { CertificateEntry } from "@paceline/wire";
import type { AutomaticConfig } from "../core/model.js";
import type { AcmeFiles, StoredCertificate } from "./acme-files.js";
import { readCertificate } from "./acme-x509.js";

/** Names that clients asked for. */
const MAX_ON_DEMAND = 1_000;

interface KeptOptions {
  files: AcmeFiles;
  config(): AutomaticConfig | undefined;
  /** Whether an order for the name is under way. */
  isOrdering(name: string): boolean;
  onProblem(message: string): void;
}

export class KeptCertificates {
  private readonly stored = new Map<string, StoredCertificate>();
  /** The most recently requested name is last. */
  private readonly onDemand = new Set<string>();

  constructor(private readonly options: KeptOptions) {}

  /** Reads the files of names without a certificate in memory. Returns the certificates. */
  read(now: number): StoredCertificate[] {
    const { files, onProblem } = this.options;
    const config = this.options.config();
    if (config === undefined) return [];
    const isMissing = config.names.some((name) => !this.stored.has(name));
    if (!isMissing && this.stored.size > 0) return [];
    const wanted = new Set(config.names);
    return files.certificates(wanted, now, onProblem).flatMap((kept) => {
      const { name, isOnDemand } = kept;
      if (this.stored.has(name)) return [];
      const isOurs = wanted.has(name) || (isOnDemand && config.ask !== null && this.admit(name));
      if (!isOurs) return [];
      this.stored.set(name, kept);
      return [kept];
    });
  }

  /** The names that should have a certificate. */
  wanted(): Set<string> {
    const config = this.options.config();
    return new Set(config === undefined ? [] : [...config.names, ...(config.ask === null ? [] : this.onDemand)]);
  }

  get(name: string): StoredCertificate | undefined {
    return this.stored.get(name);
  }

  /** A certificate was issued. @throws PacelineError if it cannot be stored; it is in use all the same */
  add(certificate: Omit<StoredCertificate, "isOnDemand">): void {
    const isOnDemand = this.options.config()?.names.includes(certificate.name) !== true;
    const stored = { ...certificate, isOnDemand };
    this.stored.set(certificate.name, stored);
    this.options.files.storeCertificate(stored);
  }

  /** A client asked for this name. Returns whether there is room for it. */
  admit(name: string): boolean {
    this.onDemand.delete(name);
    if (this.onDemand.size >= MAX_ON_DEMAND) {
      const idle = [...this.onDemand].find((each) => !this.stored.has(each) && !this.options.isOrdering(each));
      if (idle === undefined) return false;
      this.onDemand.delete(idle);
    }
    this.onDemand.add(name);
    return true;
  }

  /** A name on demand is not allowed any more. */
  drop(name: string): void {
    this.onDemand.delete(name);
    this.stored.delete(name);
    this.options.files.removeCertificate(name);
  }

  /** Returns the entries for the balancers. */
  entries(): CertificateEntry[] {
    const wanted = this.wanted();
    return [...this.stored.values()].flatMap(({ name, certificatePem, keyPem }): CertificateEntry[] => {
      if (!wanted.has(name)) return [];
      const { notAfter } = readCertificate(certificatePem);
      return [{ names: [name], certificatePem, keyPem, source: "automatic", notAfter }];
    });
  }
}
