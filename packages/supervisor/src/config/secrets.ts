/** Secrets in `env`: values in a file or a systemd credential, so that neither a config nor the environment of a start contains them. */
import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { readRegularFile } from "@paceline/wire";
import type { FleetConfig, Secret, SecretSource, SecretText } from "../core/model.js";

/** The maximum size of a secret in bytes. One variable of the environment, including its name, can have 128 KiB. */
const MAX_SECRET_BYTES = 64 << 10;
const OTHERS_READ = 0o004;

/** The value of a variable in `env` of a config. */
export type EnvValue = string | { file: string } | { credential: string };

export interface SecretContext {
  /** The folder from which relative paths start. */
  baseDir: string;
  /** $CREDENTIALS_DIRECTORY, which systemd sets for a unit with LoadCredential=. */
  credentialsDir: string | undefined;
  /** Whether the fleet is only checked. Secrets that only the fleet's user or its unit can read are then no problem. */
  isOnlyChecked: boolean;
  report(path: (string | number)[], message: string): void;
}

/** Separates the variables of `env` from its secrets, and reads the secrets. */
export function readSecrets(
  given: Readonly<Record<string, EnvValue>>,
  path: (string | number)[],
  context: SecretContext,
): { variables: Record<string, string>; secrets: Record<string, Secret> } {
  const variables: Record<string, string> = {};
  const secrets: Record<string, Secret> = {};
  for (const [name, value] of Object.entries(given)) {
    if (typeof value === "string") {
      variables[name] = value;
      continue;
    }
    const at = [...path, name];
    const source: SecretSource = "file" in value ? { file: resolve(context.baseDir, value.file) } : value;
    const text = secretValue(source, { ...context, report: (message) => context.report(at, message) });
    secrets[name] = { ...source, value: text ?? "" };
  }
  return { variables, secrets };
}

/** The names that systemd allows. */
function isCredential(name: string): boolean {
  return /^[ -.0-9;-~]{1,255}$/.test(name) && !/^\.\.?$/.test(name);
}

/** Returns why a text cannot be the token of `admin`, worded as a predicate. */
function tokenProblem(text: string): string | undefined {
  if (/^[!-~]{16,512}$/.test(text)) return undefined;
  return "must have 16 to 512 characters of ASCII without spaces; make one with: openssl rand -hex 24";
}

/** Returns the token of a file, which may have changed since it was checked, or why it is invalid. */
export function readToken(path: string): { text: string } | FileProblem {
  const read = readSecretFile(path);
  const problem = "text" in read ? tokenProblem(read.text) : undefined;
  return problem === undefined ? read : { problem };
}

/**
 * Checks the token of `admin`, which the supervisor reads itself. Returns the absolute path of its file; null if there is none.
 * @param path of the key
 */
export function resolveToken(
  given: { file?: string | undefined; credential?: string | undefined } | undefined,
  path: (string | number)[],
  context: SecretContext,
): string | null {
  if (given === undefined) return null;
  const { file, credential } = given;
  const report = (message: string) => context.report(path, message);
  const hasOne = (file === undefined) !== (credential === undefined);
  if (!hasOne) report("must have either `file` or `credential`");
  if (!hasOne || (credential !== undefined && !isCredential(credential))) {
    if (hasOne) report('`credential` must be a name of ASCII characters without "/" and ":"');
    return null;
  }
  const source: SecretSource =
    file !== undefined ? { file: resolve(context.baseDir, file) } : { credential: credential ?? "" };
  const text = secretValue(source, { ...context, report });
  const problem = text === undefined ? undefined : tokenProblem(text);
  if (problem !== undefined) report(problem);
  if ("file" in source) return source.file;
  return context.credentialsDir === undefined ? null : join(context.credentialsDir, source.credential);
}

/** Returns undefined if there is no value. That is reported, unless the fleet is only checked. */
function secretValue(
  source: SecretSource,
  {
    credentialsDir,
    isOnlyChecked,
    report,
  }: Omit<SecretContext, "report" | "baseDir"> & { report(message: string): void },
): string | undefined {
  if ("file" in source) {
    const read = readSecretFile(source.file);
    if ("text" in read) return read.text;
    if (!(isOnlyChecked && read.code === "EACCES")) report(`${source.file} ${read.problem}`);
    return undefined;
  }
  const { credential } = source;
  if (credentialsDir === undefined || credentialsDir === "") {
    if (isOnlyChecked) return undefined;
    report(
      `needs $CREDENTIALS_DIRECTORY for the credential "${credential}": run the fleet by a systemd unit with LoadCredential=${credential}:/path/of/the/secret, or name a file with { file: … }`,
    );
    return undefined;
  }
  const read = readSecretFile(join(credentialsDir, credential));
  if ("text" in read) return read.text;
  const hint = read.code === "ENOENT" ? `; add LoadCredential=${credential}:/path/of/the/secret to the unit` : "";
  report(`the credential "${credential}" in ${credentialsDir} ${read.problem}${hint}`);
  return undefined;
}

/** Reads a secret when it is needed. Returns the reason if it cannot be read. */
export function readSecret(
  source: SecretSource,
  env: NodeJS.ProcessEnv = process.env,
): { text: string } | { problem: string } {
  let problem = "";
  const report = (message: string) => {
    problem = message;
  };
  const text = secretValue(source, { credentialsDir: env.CREDENTIALS_DIRECTORY, isOnlyChecked: false, report });
  return text === undefined ? { problem } : { text };
}

/**
 * Returns a text, or the source of one with an absolute path. Reports a source that cannot be read.
 * @param check gets the text, unless it cannot be read
 */
export function resolveSecretText(
  given: EnvValue,
  path: (string | number)[],
  context: SecretContext,
  check?: (text: string) => void,
): SecretText {
  const source =
    typeof given === "string" ? given : "file" in given ? { file: resolve(context.baseDir, given.file) } : given;
  const report = (message: string) => context.report(path, message);
  const text = typeof source === "string" ? source : secretValue(source, { ...context, report });
  if (text !== undefined) check?.(text);
  return source;
}

/** Returns the text of a file without its last newline, or why it cannot be a secret. */
function readSecretFile(path: string): { text: string } | FileProblem {
  const read = readSmallFile(path);
  return "bytes" in read ? textOf(read.bytes) : read;
}

/** Returns why a file cannot be read, worded as a predicate, with the system's code if there is one. */
export interface FileProblem {
  problem: string;
  code?: string | undefined;
}

/** Returns the bytes of a file with a secret, a certificate or a key. */
export function readSmallFile(path: string): { bytes: Buffer } | FileProblem {
  try {
    return { bytes: readRegularFile(path, { maxBytes: MAX_SECRET_BYTES }) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "not-regular") return { problem: "is not a file" };
    if (code === "too-large") return { problem: `has more than ${MAX_SECRET_BYTES} bytes` };
    if (code === "ENOENT") return { problem: "does not exist", code };
    if (code === "EACCES") return { problem: `cannot be read by this user (uid ${process.getuid?.()})`, code };
    return { problem: `cannot be read: ${message}`, code };
  }
}

function textOf(bytes: Buffer): { text: string } | { problem: string } {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { problem: "is not UTF-8 text, which a variable has to be" };
  }
  text = text.replace(/\r?\n$/, "");
  if (text === "") return { problem: "is empty" };
  return text.includes("\0") ? { problem: "contains a NUL, which a variable cannot have" } : { text };
}

/** Returns the configuration without the values of secrets, for display or storage. */
export function withoutSecretValues(config: FleetConfig): object {
  const pools = config.pools.map(({ secrets, ...pool }) => ({
    ...pool,
    secrets: Object.fromEntries(Object.entries(secrets).map(([name, { value: _, ...source }]) => [name, source])),
  }));
  return { ...config, pools };
}

/** Returns a warning for each file of secrets that every user of the machine can read. */
export function secretWarnings({ pools }: FleetConfig): string[] {
  const files = new Map<string, string>();
  for (const { secrets } of pools)
    for (const [name, source] of Object.entries(secrets)) if ("file" in source) files.set(source.file, name);
  return [...files].flatMap(([file, name]) =>
    isOpen(file) ? [`every user can read ${file}, the secret ${name}; run: chmod o-r ${file}`] : [],
  );
}

/** Returns a warning for each secret whose value a check could not read. */
export function uncheckedSecrets({ pools }: FleetConfig): string[] {
  const unread = pools.flatMap(({ secrets }) => Object.entries(secrets)).filter(([, { value }]) => value === "");
  const sentences = unread.map(([name, source]) =>
    "file" in source
      ? `the secret ${name} was not checked: this user (uid ${process.getuid?.()}) cannot read ${source.file}`
      : `the secret ${name} was not checked: there is no $CREDENTIALS_DIRECTORY here; the fleet's unit needs LoadCredential=${source.credential}:/path/of/the/secret`,
  );
  return [...new Set(sentences)];
}

function isOpen(file: string): boolean {
  try {
    return (statSync(file).mode & OTHERS_READ) !== 0;
  } catch {
    return false; // The file existed when it was read.
  }
}
