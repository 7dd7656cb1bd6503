/** The key `tls`: the certificates of https addresses, and related settings. */
import type { CertificateFiles, ListenAddress, TlsConfig } from "../core/model.js";
import { type AutomaticInput, automaticFields, resolveAutomatic } from "./automatic.js";
import { covers, type ReadCertificate, readAuthorities, readCertificate } from "./certificate-files.js";
import { expected, fieldOf, flag, oneAddress, table, tables, text, word } from "./fields.js";
import { formatListenAddress, hostAndPort, overlaps, parseListenAddress } from "./listen-address.js";
import type { SecretContext } from "./secrets.js";

const HSTS = /^max-age=\d{1,10}(; ?includeSubDomains)?(; ?preload)?$/i;
const HSTS_RULE = 'must be true, false, or text such as "max-age=31536000; includeSubDomains"';
/** A year, for `hsts: true`. */
const DEFAULT_HSTS = "max-age=31536000";
const HTTP_PORT = 80;
const HTTPS_PORT = 443;

export const tlsFields = {
  automatic: table(
    automaticFields,
    "Certificates that Paceline orders from Let's Encrypt or another CA by ACME, and renews. On by default for names in `listen` if `tls` has no other certificates. See [certificates.md](certificates.md).",
  ),
  certificates: tables(
    {
      certificate: text(
        "The file with the certificate and its intermediates, in PEM, relative to the config file's folder, such as certbot's `fullchain.pem`.",
      ),
      key: text("The file with the private key, in PEM, such as certbot's `privkey.pem`."),
    },
    "Certificates from files. Each client gets the certificate for the name that it requests: by exact name, then by wildcard; without a name, the first one. The files are watched: a renewed certificate is used within seconds, and no connection is closed.",
  ),
  selfSigned: flag(
    false,
    "Whether names that no file covers get a self-signed certificate. Browsers warn of such certificates: use them only for testing.",
  ),
  internal: flag(
    false,
    "Whether names that no file covers get certificates from the fleet's own authority, which is made at the first start and kept in the fleet's run directory. Clients must trust its root; see [tls.md](tls.md#an-internal-authority).",
  ),
  minVersion: word(
    ["1.2", "1.3"],
    'The lowest version of TLS. Default: `"1.2"`, with the intermediate cipher suites of Mozilla.',
  ),
  clientCa: text(
    "The file with the certificates, in PEM, of the authorities that sign client certificates. Apps get the subject and the fingerprint of a client's certificate; see [tls.md](tls.md#client-certificates). Default: no client certificates are requested.",
  ),
  clientCertificates: word(
    ["required", "optional"],
    '`"optional"`: clients without a certificate may also connect. Default: `"required"`.',
  ),
  hsts: fieldOf([flag(false, "").unwrap(), text("").unwrap()], expected(HSTS_RULE), {
    type: "true, false or text",
    default: false,
    description:
      "The value of Strict-Transport-Security in responses over TLS, unless the app sends one. Browsers then refuse http for this host. `true`: for a year, without subdomains. Browsers remember this, so begin with a short `max-age`.",
  }),
  redirect: fieldOf(
    [flag(false, "").unwrap(), oneAddress("").unwrap()],
    expected('must be true, false, or an address such as ":80"'),
    {
      type: "true, false or text",
      description:
        "Where requests over http are redirected to https with 308: `true` for port 80 of all addresses, or an address as in `listen`. Default: `true` if `listen` has a name on port 443 and nothing on port 80, otherwise `false`.",
    },
  ),
};

interface TlsInput {
  certificates?: { certificate?: string | undefined; key?: string | undefined }[] | undefined;
  selfSigned?: boolean | undefined;
  internal?: boolean | undefined;
  minVersion?: "1.2" | "1.3" | undefined;
  clientCa?: string | undefined;
  clientCertificates?: "required" | "optional" | undefined;
  hsts?: boolean | string | undefined;
  redirect?: boolean | string | undefined;
  automatic?: AutomaticInput | undefined;
}

interface TlsContext {
  /** Returns the absolute path of a file. */
  pathOf(path: string): string;
  secretsAt(key: "automatic"): SecretContext & Pick<TlsContext, "pathOf">;
  /** Whether the fleet is only checked. Files that only the fleet's user can read are then no problem. */
  isOnlyChecked: boolean;
  /** @param at a key of `tls`, or of the config if it begins with "listen" */
  report(at: (string | number)[], message: string): void;
}

/** Resolves `tls`. Adds the address of the redirect to `listen`. Returns undefined if there is no https address. */
export function resolveTls(
  given: TlsInput | undefined,
  listen: ListenAddress[],
  context: TlsContext,
): TlsConfig | undefined {
  const { report } = context;
  const https = listen.filter(({ tls }) => tls !== undefined);
  const [first] = https;
  if (first === undefined) {
    // Without any valid address, the problem of each one was reported.
    if (given !== undefined && listen.length > 0)
      report(["tls"], 'needs an address such as "https://127.0.0.1:8443" in `listen`');
    return undefined;
  }
  const { selfSigned = false, internal = false, certificates = [], clientCa, hsts = false } = given ?? {};
  if (selfSigned && internal) report(["tls", "selfSigned"], "is not valid beside `internal`");
  const names = [...new Set(https.flatMap(({ tls }) => tls?.names ?? []))];
  const { files, read } = readAll(certificates, context);
  const issuer = internal ? "internal" : selfSigned ? "self-signed" : null;
  // The names of a certificate that could not be read are unknown; the problem is reported.
  const isRead = read.length === certificates.length;
  const uncovered = issuer === null && isRead ? uncoveredOf(names, read) : [];
  // If files are configured, a missing name may be a mistake, so it does not cause an order.
  const isAutomatic = given?.automatic !== undefined || certificates.length === 0;
  const automatic = isAutomatic
    ? resolveAutomatic(given?.automatic, uncovered, context.secretsAt("automatic"))
    : undefined;
  if (issuer === null && isRead && automatic === undefined)
    checkCovered(uncovered, formatListenAddress(first), read, report);
  if (typeof hsts === "string" && !HSTS.test(hsts))
    report(["tls", "hsts"], `${HSTS_RULE}, not ${JSON.stringify(hsts)}`);
  const redirecting = redirectOf(given?.redirect, listen, context);
  if (redirecting !== undefined) listen.push(redirecting);
  if (clientCa === undefined && given?.clientCertificates !== undefined)
    report(["tls", "clientCertificates"], "needs `clientCa`");
  return {
    certificates: files,
    issuer,
    names,
    minVersion: given?.minVersion ?? "1.2",
    clientCa: clientCa === undefined ? null : checkedCa(context.pathOf(clientCa), context),
    isClientOptional: given?.clientCertificates === "optional",
    hsts: hsts === false ? null : hsts === true ? DEFAULT_HSTS : hsts,
    ...(automatic !== undefined && { automatic }),
  };
}

function readAll(
  given: NonNullable<TlsInput["certificates"]>,
  { pathOf, isOnlyChecked, report }: TlsContext,
): { files: CertificateFiles[]; read: ReadCertificate[] } {
  const files: CertificateFiles[] = [];
  const read: ReadCertificate[] = [];
  for (const [index, { certificate, key }] of given.entries()) {
    const at = ["tls", "certificates", index];
    if (certificate === undefined) report([...at, "certificate"], "is missing: the file with the certificate");
    if (key === undefined) report([...at, "key"], "is missing: the file with the private key of the certificate");
    if (certificate === undefined || key === undefined) continue;
    const pair = { certificate: pathOf(certificate), key: pathOf(key) };
    files.push(pair);
    const found = readCertificate(pair);
    if (!("problem" in found)) {
      read.push(found);
      if (isOnlyChecked && found.notAfter < Date.now())
        report(
          [...at, "certificate"],
          `${pair.certificate} has expired on ${new Date(found.notAfter).toISOString().slice(0, 10)}`,
        );
    } else if (!(isOnlyChecked && found.code === "EACCES")) report([...at, found.file], found.problem);
  }
  return { files, read };
}

/** Returns the names that no file covers. */
function uncoveredOf(names: readonly string[], read: readonly ReadCertificate[]): string[] {
  const known = read.flatMap((each) => each.names);
  return names.filter((name) => !covers(known, name));
}

function checkCovered(
  uncovered: readonly string[],
  address: string,
  read: readonly ReadCertificate[],
  report: TlsContext["report"],
): void {
  if (read.length === 0 && uncovered.length === 0)
    return report(
      ["listen"],
      `${address} needs a certificate: name its files in \`tls.certificates\`, or set \`tls.internal\`, \`tls.selfSigned\` or \`tls.automatic\``,
    );
  const known = read.flatMap((each) => each.names).join(", ") || "no name";
  for (const name of uncovered)
    report(
      ["tls", "certificates"],
      `have none for ${name}, which is in \`listen\`; they are for ${known}; with \`tls.automatic\` one is ordered`,
    );
}

function checkedCa(path: string, { isOnlyChecked, report }: TlsContext): string {
  const found = readAuthorities(path);
  if ("problem" in found && !(isOnlyChecked && found.code === "EACCES")) report(["tls", "clientCa"], found.problem);
  return path;
}

/** Returns the address whose requests are redirected; undefined if there is none. */
function redirectOf(
  given: boolean | string | undefined,
  listen: readonly ListenAddress[],
  { report }: TlsContext,
): ListenAddress | undefined {
  const [secure] = listen.flatMap((address) => (address.kind === "tcp" && address.tls !== undefined ? [address] : []));
  const named = listen.flatMap((address) =>
    address.kind === "tcp" && (address.tls?.names.length ?? 0) > 0 ? [address] : [],
  );
  const target = (named[0] ?? secure)?.port ?? HTTPS_PORT;
  if (given === false || (given === undefined && !named.some(({ port }) => port === HTTPS_PORT))) return undefined;
  const at = ["tls", "redirect"];
  const everywhere: ListenAddress = { kind: "tcp", host: "::", port: HTTP_PORT };
  const address = typeof given === "string" ? parseListenAddress(given, "/") : everywhere;
  if ("problem" in address) {
    report(at, address.problem);
    return undefined;
  }
  if (address.kind === "unix" || address.tls !== undefined) {
    report(at, `must be "HOST:PORT" or "PORT", not ${JSON.stringify(given)}`);
    return undefined;
  }
  const isThere = (each: ListenAddress) =>
    overlaps(each, address, listen) || (given === undefined && each.kind === "tcp" && each.port === HTTP_PORT);
  const other = listen.find(isThere);
  if (other === undefined) return { ...address, redirect: target };
  // The default redirect is used only if nothing else listens on that port.
  if (given !== undefined)
    report(at, `${hostAndPort(address)} is taken by ${formatListenAddress(other)} in \`listen\``);
  return undefined;
}
