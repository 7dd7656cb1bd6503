/**
 * The files of automatic certificates, readable only by this user: account key, a file for each name, and the plan. Each file is replaced
 * atomically.
 */
import { createHash, createPrivateKey, type KeyObject } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type CertificateEntry, readRegularFile } from "@paceline/wire";
import { type NamePlan, NEW_BUDGET, newPlan, type OrderBudget } from "../core/acme-plan.js";
import type { AutomaticConfig } from "../core/model.js";
import { replaceDurably } from "../run-dir/run-dir-files.js";
import { makePrivate } from "../run-dir/trust.js";
import { readCertificate } from "./acme-x509.js";
import { newKey, pemOf } from "./x509.js";

/** The maximum number of files that are read; further ones are ignored. */
const MAX_FILES = 4096;
const MAX_FILE_BYTES = 1 << 20;

interface StoredCertificate {
  name: string;
  /** The directory URL of the CA that issued the certificate. */
  directory: string;
  certificatePem: string;
  keyPem: string;
  /** Whether a client requested the name, and `ask` allowed it. */
  isOnDemand: boolean;
}

interface StoredAccount {
  key: KeyObject;
  url: string | undefined;
  email: string | null;
}

export class AcmeFiles {
  /** @param folder created when a file is written */
  constructor(readonly folder: string) {}

  /** Returns the certificates that are still valid. Removes expired ones for names that are not `wanted`. */
  certificates(wanted: ReadonlySet<string>, now: number, onProblem: (message: string) => void): StoredCertificate[] {
    return this.names().flatMap((file) => {
      if (!file.endsWith(CERTIFICATE)) return [];
      const path = join(this.folder, file);
      try {
        const stored = read<StoredCertificate>(path);
        const { notAfter } = readCertificate(stored.certificatePem);
        createPrivateKey(stored.keyPem);
        if (`${stored.name}${CERTIFICATE}` !== file) throw new RangeError(`is of ${stored.name}`);
        if (notAfter > now || wanted.has(stored.name)) return [stored];
        rmSync(path, { force: true });
      } catch (error) {
        onProblem(`the certificate in ${path} is not used: ${(error as Error).message}`);
      }
      return [];
    });
  }

  /** @throws PacelineError, for example `ENOSPC` */
  storeCertificate(stored: StoredCertificate): void {
    this.write(`${stored.name}${CERTIFICATE}`, stored);
  }

  removeCertificate(name: string): void {
    rmSync(join(this.folder, `${name}${CERTIFICATE}`), { force: true });
  }

  /** Returns the account at a CA, with a new key if there is none. The key is stored before the account is registered. */
  account(directory: string): StoredAccount {
    const file = accountFile(directory);
    try {
      const { keyPem, url, email } = read<{ keyPem: string; url: string | null; email: string | null }>(
        join(this.folder, file),
      );
      return { key: createPrivateKey(keyPem), url: url ?? undefined, email };
    } catch {
      // Missing or damaged: a new account is registered.
    }
    const account = { key: newKey(), url: undefined, email: null };
    this.storeAccount(directory, account);
    return account;
  }

  storeAccount(directory: string, { key, url = undefined, email }: StoredAccount): void {
    this.write(accountFile(directory), { directory, url: url ?? null, email, keyPem: pemOf(key) });
  }

  /** Removes an account that the CA no longer knows. */
  removeAccount(directory: string): void {
    rmSync(join(this.folder, accountFile(directory)), { force: true });
  }

  /** Returns the plan of an earlier process. Returns an empty plan if there is none, or if it cannot be read. */
  plan(): { plans: NamePlan[]; budget: OrderBudget } {
    try {
      const { plans, budget } = read<{ plans: Partial<NamePlan>[]; budget: Partial<OrderBudget> }>(
        join(this.folder, PLAN),
      );
      return {
        plans: plans.flatMap((plan) => (typeof plan.name === "string" ? [{ ...newPlan(plan.name), ...plan }] : [])),
        budget: { ...NEW_BUDGET, ...budget },
      };
    } catch {
      return { plans: [], budget: NEW_BUDGET };
    }
  }

  storePlan(plans: readonly NamePlan[], budget: OrderBudget): void {
    this.write(PLAN, { plans, budget });
  }

  private names(): string[] {
    try {
      return readdirSync(this.folder).sort().slice(0, MAX_FILES);
    } catch {
      return []; // The file does not exist yet.
    }
  }

  private write(name: string, content: object): void {
    makePrivate(this.folder, true);
    replaceDurably(join(this.folder, name), `${JSON.stringify({ version: 1, ...content }, null, 1)}\n`);
  }
}

const CERTIFICATE = ".certificate.json";
const PLAN = "plan.json";

/** Each CA has an account of its own. */
function accountFile(directory: string): string {
  return `account-${createHash("sha256").update(directory).digest("hex").slice(0, 16)}.json`;
}

function read<Content>(path: string): Content {
  const text = readRegularFile(path, { maxBytes: MAX_FILE_BYTES }).toString();
  const content = JSON.parse(text) as Content & { version?: unknown };
  if (content.version !== 1) throw new RangeError("is of another version of Paceline");
  return content;
}

/** The maximum number of names on demand. */
const MAX_ON_DEMAND = 1_000;

interface KeptOptions {
  files: AcmeFiles;
  config(): AutomaticConfig | undefined;
  /** Whether an order for the name is in progress. */
  isOrdering(name: string): boolean;
  onProblem(message: string): void;
}

/** The automatic certificates in use, including those on demand. Both are kept across starts. */
export class KeptCertificates {
  private readonly stored = new Map<string, StoredCertificate>();
  /** The most recently requested name is last. */
  private readonly onDemand = new Set<string>();

  constructor(private readonly options: KeptOptions) {}

  /** Reads the files of names that have no certificate in memory. Returns all certificates. */
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

  /**
   * Adds an issued certificate.
   * @throws PacelineError if it cannot be stored; it is used all the same
   */
  add(certificate: Omit<StoredCertificate, "isOnDemand">): void {
    const isOnDemand = this.options.config()?.names.includes(certificate.name) !== true;
    const stored = { ...certificate, isOnDemand };
    this.stored.set(certificate.name, stored);
    this.options.files.storeCertificate(stored);
  }

  /** Called when a client requests this name. Returns whether there is room for it. */
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

  /** Removes a name on demand that is no longer allowed. */
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
