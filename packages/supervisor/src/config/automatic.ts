/** The key `tls.automatic`: certificates that Paceline orders and renews by ACME (RFC 8555). */
import { CHALLENGES, type ChallengeKind } from "../core/acme-plan.js";
import type { AutomaticConfig } from "../core/model.js";
import { readAuthorities } from "./certificate-files.js";
import { secretText, table, text, texts, words } from "./fields.js";
import { DNS_NAME } from "./listen-address.js";
import { urlProblem } from "./receivers.js";
import { type EnvValue, resolveSecretText, type SecretContext } from "./secrets.js";

const LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory";
/** The directories in which an order is retried after a failure, so that failures do not count against the limits of the real directory. */
const STAGING: Readonly<Record<string, string>> = {
  [LETS_ENCRYPT]: "https://acme-staging-v02.api.letsencrypt.org/directory",
};
const MAX_NAMES = 500;

export const automaticFields = {
  email: text("The e-mail address for the CA's messages. Optional."),
  directory: text(
    `The URL of the CA's ACME directory. Default: Let's Encrypt, \`"${LETS_ENCRYPT}"\`. By using automatic certificates you agree to the CA's terms of service.`,
  ),
  staging: text(
    "The URL of the CA's staging directory. After a failed order the next one is tried there first, so that failures do not use up the CA's rate limits. Default: the staging directory of Let's Encrypt if `directory` is Let's Encrypt.",
  ),
  caFile: text(
    "The file with further root certificates, in PEM, that are trusted for connections to the CA, such as that of a private CA.",
  ),
  externalAccount: table(
    {
      keyId: text("The key's id."),
      key: secretText(
        'The key in base64url, as the CA shows it; or `{ file: "/run/secrets/eab" }`, `{ credential: "eab" }`.',
      ),
    },
    "The credentials of your account at a CA such as ZeroSSL or Google (external account binding).",
  ),
  names: texts(
    "Names that get a certificate, in addition to those in `listen` that `tls.certificates` does not cover. Wildcards are not possible.",
    [],
  ),
  challenges: words(
    CHALLENGES,
    "How the CA may check that you control a name, in the order in which they are tried: `tls-alpn-01` on port 443, `http-01` on port 80.",
  ),
  ask: text(
    "The URL that decides whether an unconfigured name that a client requests gets a certificate: Paceline sends a GET with `?domain=NAME`, and a 200 allows the name. See [certificates.md](certificates.md#names-on-demand).",
  ),
};

export interface AutomaticInput {
  email?: string | undefined;
  directory?: string | undefined;
  staging?: string | undefined;
  caFile?: string | undefined;
  externalAccount?: { keyId?: string | undefined; key?: EnvValue | undefined } | undefined;
  names?: string[] | undefined;
  challenges?: ChallengeKind[] | undefined;
  ask?: string | undefined;
}

/**
 * @param names those of `listen` that no file covers
 * @param context whose `report` gets paths below `tls.automatic`
 */
export function resolveAutomatic(
  given: AutomaticInput | undefined,
  names: readonly string[],
  { pathOf, ...context }: SecretContext & { pathOf(path: string): string },
): AutomaticConfig | undefined {
  if (given === undefined && names.length === 0) return undefined;
  const { email, directory = LETS_ENCRYPT, staging, caFile, challenges = CHALLENGES, ask } = given ?? {};
  const report = (key: string, problem: string | undefined) => {
    if (problem !== undefined) context.report([key], problem);
  };
  const further = (given?.names ?? []).map((name) => name.toLowerCase());
  for (const [at, name] of further.entries()) {
    if (DNS_NAME.test(name)) continue;
    const why = name.startsWith("*.")
      ? "is a wildcard, which needs a challenge by DNS: list its names, or name its files in `tls.certificates`"
      : "must be a DNS name such as shop.example";
    context.report(["names", at], why);
  }
  const all = [...new Set([...names, ...further])];
  if (all.length > MAX_NAMES)
    report("names", `are ${all.length} with those of \`listen\`, and at most ${MAX_NAMES} are possible`);
  if (email !== undefined && !/^[^\s@,?&]+@[^\s@,?&]+$/.test(email)) report("email", "must be an e-mail address");
  report("directory", httpsProblem(directory));
  if (staging !== undefined) report("staging", httpsProblem(staging));
  if (challenges.length === 0) report("challenges", "must have at least one");
  if (ask !== undefined) report("ask", urlProblem(ask));
  const authorities = caFile === undefined ? undefined : readAuthorities(pathOf(caFile));
  const isUnseen =
    context.isOnlyChecked && authorities !== undefined && "code" in authorities && authorities.code === "EACCES";
  if (authorities !== undefined && "problem" in authorities && !isUnseen) report("caFile", authorities.problem);
  return {
    ...{ names: all, email: email ?? null, directory, challenges: [...new Set(challenges)] },
    stagingDirectory: staging ?? STAGING[directory] ?? null,
    caFile: caFile === undefined ? null : pathOf(caFile),
    externalAccount: externalAccountOf(given?.externalAccount, context),
    ask: ask ?? null,
  };
}

function httpsProblem(url: string): string | undefined {
  return URL.canParse(url) && new URL(url).protocol === "https:" ? undefined : "must be an https URL";
}

function externalAccountOf(
  given: AutomaticInput["externalAccount"],
  context: SecretContext,
): AutomaticConfig["externalAccount"] {
  if (given === undefined) return null;
  const { keyId, key } = given;
  if (keyId === undefined || key === undefined) {
    context.report(["externalAccount"], "must have `keyId` and `key`");
    return null;
  }
  const at = ["externalAccount", "key"];
  const secret = resolveSecretText(key, at, context, (text) => {
    const problem = externalKeyProblem(text);
    if (problem !== undefined) context.report(at, problem);
  });
  return { keyId, key: secret };
}

/**
 * Returns why a text cannot be the key of an external account, worded as a predicate. The credentials of some CAs end with padding, which
 * decoders ignore.
 */
export function externalKeyProblem(text: string): string | undefined {
  if (/^[A-Za-z0-9_-]{2,1024}={0,2}$/.test(text)) return undefined;
  return "must be a key in base64url, as the CA shows it: letters, digits, - and _";
}
