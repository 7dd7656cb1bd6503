/** One order of a certificate, from the account to the chain (RFC 8555). Loaded on demand. */
import { createHash, type KeyObject } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { ChallengeKind, RenewalWindow } from "../core/acme-plan.js";
import {
  AcmeError,
  CaConnection,
  type CaOptions,
  cleanText,
  externalBinding,
  parse,
  problemText,
  publicJwk,
} from "./acme-http.js";
import { certificateRequest, readCertificate, renewalId } from "./acme-x509.js";
import { newKey, pemOf } from "./x509.js";

interface CaAccount {
  key: KeyObject;
  /** The account's URL; undefined if it is not registered yet. */
  url: string | undefined;
  /** The contact that the CA knows; null: none. */
  email: string | null;
}

export interface OrderRequest extends CaOptions {
  name: string;
  account: CaAccount;
  /** The contact in the configuration. */
  email: string | null;
  externalAccount: { keyId: string; hmacKey: string } | null;
  /** The kinds of challenges in order of preference: the first one that the CA offers is tried. */
  challenges: readonly ChallengeKind[];
  /** The certificate that is renewed, in PEM. */
  replaces: string | undefined;
  /** Stores the account after it was registered. */
  onAccount(account: CaAccount): void;
  /**
   * Announces the response to all balancers. Resolves with a function that withdraws it.
   * @throws Error
   */
  respond(challenge: ChallengeResponse): Promise<() => void>;
  /** The first pause between two polls, in milliseconds. */
  pollMs?: number;
}

export interface ChallengeResponse {
  kind: ChallengeKind;
  name: string;
  token: string;
  keyAuthorization: string;
}

export interface Obtained {
  certificatePem: string;
  keyPem: string;
  /** The kind of challenge that succeeded; null if the CA had already authorized the name. */
  challenge: ChallengeKind | null;
}

/** Thrown when a challenge failed; `challenge` is its kind. */
export class ChallengeFailed extends Error {
  override readonly name = "ChallengeFailed";

  constructor(
    readonly challenge: ChallengeKind,
    message: string,
  ) {
    super(message);
  }
}

interface Order {
  status: string;
  authorizations: string[];
  finalize: string;
  certificate?: string;
  error?: unknown;
}

interface Challenge {
  type: string;
  url: string;
  token: string;
  status: string;
  error?: unknown;
}

interface Authorization {
  status: string;
  challenges: Challenge[];
}

const POLL_MS = 250;
const MAX_POLL_MS = 5_000;

/**
 * Resolves with a certificate.
 * @throws AcmeError, ChallengeFailed
 */
export async function obtain(request: OrderRequest): Promise<Obtained> {
  const ca = new CaConnection(request);
  const account = await register(ca, request);
  const { url, order } = await newOrder(ca, request, account);
  const session = {
    ca,
    request,
    account,
    post: (to: string, body?: object) => ca.post(to, body, account.key, account.url),
  };
  let challenge: ChallengeKind | null = null;
  if (order.status === "pending") {
    for (const each of order.authorizations) challenge = (await authorize(session, each)) ?? challenge;
  }
  const ready = await until(session, url, order.status === "pending" ? undefined : order, ["ready", "valid"]);
  const key = newKey();
  const csr = certificateRequest([request.name], key).toString("base64url");
  // An order that was finalized in an earlier attempt has the key of that attempt.
  if (ready.status === "valid")
    throw new AcmeError("local", `${ca.host}: the order was already complete; a new one follows`);
  const finalized = parse<Order>(await session.post(ready.finalize, { csr }), ca.host);
  const valid = await until(session, url, finalized, ["valid"]);
  if (valid.certificate === undefined) throw new AcmeError("unreachable", `${ca.host}: the order has no certificate`);
  const certificatePem = chainOf((await session.post(valid.certificate)).text, ca.host);
  checkIssued(certificatePem, request.name, key, ca.host);
  return { certificatePem, keyPem: pemOf(key), challenge };
}

interface Session {
  ca: CaConnection;
  request: OrderRequest;
  account: CaAccount;
  post(url: string, body?: object): ReturnType<CaConnection["post"]>;
}

/** Returns the account with its URL. If necessary, registers the account or updates its contact. */
async function register(ca: CaConnection, request: OrderRequest): Promise<CaAccount> {
  const { account, email, externalAccount } = request;
  const contact = email === null ? [] : [`mailto:${email}`];
  if (account.url !== undefined) {
    if (account.email === email) return account;
    await ca.post(account.url, { contact }, account.key, account.url);
    const changed = { ...account, email };
    request.onAccount(changed);
    return changed;
  }
  const { newAccount } = await ca.directory();
  const binding = externalAccount && externalBinding(externalAccount, newAccount, account.key);
  const { location } = await ca.post(
    newAccount,
    {
      // By configuring a CA, the operator agrees to its terms (docs/certificates.md).
      termsOfServiceAgreed: true,
      ...(email !== null && { contact }),
      ...(binding !== null && { externalAccountBinding: binding }),
    },
    account.key,
  );
  if (location === undefined) throw new AcmeError("unreachable", `${ca.host}: the new account has no URL`);
  const registered = { ...account, url: location, email };
  request.onAccount(registered);
  return registered;
}

async function newOrder(
  ca: CaConnection,
  { name, replaces }: OrderRequest,
  { key, url: kid }: CaAccount,
): Promise<{ url: string; order: Order }> {
  const directory = await ca.directory();
  const former =
    replaces === undefined || directory.renewalInfo === undefined
      ? undefined
      : renewalId(readCertificate(replaces).certificate);
  const order = (extra: object) =>
    ca.post(directory.newOrder, { identifiers: [{ type: "dns", value: name }], ...extra }, key, kid);
  const response = await (former === undefined
    ? order({})
    : order({ replaces: former }).catch((error: unknown) => {
        // The former certificate was already replaced, or belongs to another account: orders without naming it.
        if (error instanceof AcmeError && error.kind === "refused") return order({});
        throw error;
      }));
  if (response.location === undefined) throw new AcmeError("unreachable", `${ca.host}: the new order has no URL`);
  return { url: response.location, order: orderOf(parse<Order>(response, ca.host), ca.host) };
}

function orderOf(order: Order, host: string): Order {
  const isWhole =
    typeof order.status === "string" && typeof order.finalize === "string" && Array.isArray(order.authorizations);
  if (!isWhole) throw new AcmeError("unreachable", `${host}: its order is malformed`);
  return order;
}

/** Returns the kind of challenge that succeeded; undefined if none was needed. */
async function authorize({ ca, request, account, post }: Session, url: string): Promise<ChallengeKind | undefined> {
  const read = async () => parse<Authorization>(await post(url), ca.host);
  const found = await read();
  if (found.status === "valid") return undefined;
  const chosen = choose(found, request.challenges);
  if (chosen === undefined) {
    const offered = (found.challenges ?? []).map(({ type }) => cleanText(String(type))).join(", ");
    throw new AcmeError("refused", `${ca.host} offers no supported challenge for ${request.name}, only ${offered}`);
  }
  const { kind, challenge } = chosen;
  const { token } = challenge;
  // The token becomes a part of a path.
  if (!/^[\w-]{1,512}$/.test(token)) throw new AcmeError("unreachable", `${ca.host}: its token is malformed`);
  const print = createHash("sha256")
    .update(JSON.stringify(publicJwk(account.key)))
    .digest("base64url");
  const response = { kind, name: request.name, token, keyAuthorization: `${token}.${print}` };
  const takeBack = await request.respond(response).catch((cause: unknown) => {
    throw new AcmeError(
      "local",
      `the fleet could not respond to the ${kind} challenge of ${request.name}: ${(cause as Error).message}`,
      { cause },
    );
  });
  try {
    await post(challenge.url, {});
    await poll(request, async () => {
      const now = await read();
      if (now.status === "valid") return true;
      if (now.status === "pending" || now.status === "processing") return undefined;
      const failed = now.challenges?.find(({ url: each, status }) => each === challenge.url || status === "invalid");
      const why = problemText(failed?.error)?.detail ?? `the authorization is ${cleanText(String(now.status))}`;
      throw new ChallengeFailed(kind, `${ca.host} could not verify ${request.name} by ${kind}: ${why}`);
    });
    return kind;
  } finally {
    takeBack();
  }
}

function choose({ challenges }: Authorization, kinds: readonly ChallengeKind[]) {
  for (const kind of kinds) {
    const challenge = challenges?.find(({ type }) => type === kind);
    if (challenge !== undefined) return { kind, challenge };
  }
  return undefined;
}

/**
 * Waits until the order has one of these states.
 * @throws AcmeError if it can no longer reach one
 */
async function until(
  session: Session,
  url: string,
  first: Order | undefined,
  wanted: readonly string[],
): Promise<Order> {
  const { ca, request, post } = session;
  let order = first;
  return poll(request, async () => {
    const now = order ?? orderOf(parse<Order>(await post(url), ca.host), ca.host);
    order = undefined;
    if (wanted.includes(now.status)) return now;
    if (now.status !== "invalid") return undefined;
    const why = problemText(now.error)?.detail ?? "without a reason";
    throw new AcmeError("refused", `${ca.host} refused the order for ${request.name}: ${why}`);
  });
}

/** Polls with growing pauses until the deadline of the order. */
async function poll<Found>(
  { signal, pollMs = POLL_MS, name }: OrderRequest,
  look: () => Promise<Found | undefined>,
): Promise<Found> {
  for (let pause = pollMs; ; pause = Math.min(pause * 1.5, MAX_POLL_MS)) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(pause, undefined, { signal }).catch(() => {
      throw new AcmeError("unreachable", `the order for ${name} took too long`);
    });
  }
}

/** @throws AcmeError unless it is a chain in PEM */
function chainOf(text: string, host: string): string {
  const found = text.match(/-----BEGIN CERTIFICATE-----[\w+/=\s]+-----END CERTIFICATE-----/g);
  if (found === null) throw new AcmeError("unreachable", `${host}: its certificate is not in PEM`);
  return `${found.join("\n")}\n`;
}

/** A certificate that no client would accept must not replace a working one. */
function checkIssued(pem: string, name: string, key: KeyObject, host: string): void {
  let problem: string | undefined;
  try {
    const { certificate, names, notAfter } = readCertificate(pem);
    if (!certificate.checkPrivateKey(key)) problem = "has another key";
    else if (!names.includes(name)) problem = `is for ${names.join(", ")}`;
    else if (notAfter <= Date.now()) problem = "has already expired; check the clock of this machine";
  } catch (error) {
    problem = `is malformed: ${(error as Error).message}`;
  }
  if (problem !== undefined) throw new AcmeError("refused", `${host}: the certificate for ${name} ${problem}`);
}

export interface RenewalAdvice {
  /** Undefined if the CA does not provide one. */
  window: RenewalWindow | undefined;
  retryAfterMs: number | undefined;
}

/**
 * Asks the CA when a certificate should be renewed.
 * @throws AcmeError
 */
export async function askRenewal(options: CaOptions, certificatePem: string): Promise<RenewalAdvice> {
  const ca = new CaConnection(options);
  const { renewalInfo } = await ca.directory();
  const id = renewalId(readCertificate(certificatePem).certificate);
  if (renewalInfo === undefined || id === undefined) return { window: undefined, retryAfterMs: undefined };
  const response = await ca.read(`${renewalInfo.replace(/\/$/, "")}/${id}`);
  const { suggestedWindow, explanationURL } = parse<{
    suggestedWindow?: { start?: string; end?: string };
    explanationURL?: string;
  }>(response, ca.host);
  const [start, end] = [Date.parse(suggestedWindow?.start ?? ""), Date.parse(suggestedWindow?.end ?? "")];
  const isWhole = Number.isFinite(start) && Number.isFinite(end);
  const explanation = typeof explanationURL === "string" ? cleanText(explanationURL) : null;
  return { window: isWhole ? { start, end, explanation } : undefined, retryAfterMs: response.retryAfterMs };
}
