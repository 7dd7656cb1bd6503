/** Speaks to a CA over HTTPS: signed requests, nonces, and all problems as one class of error (RFC 8555). Loaded on demand. */
import { createHmac, createPublicKey, type KeyObject, sign } from "node:crypto";
import { request as requestHttps } from "node:https";
import { createSecureContext, rootCertificates } from "node:tls";
import type { OrderFailure } from "../core/acme-plan.js";
import { unreachableText } from "../core/words.js";

const TIMEOUT_MS = 20_000;
/** The maximum size of a response in bytes. A chain of certificates has some 10 KB. */
const MAX_RESPONSE_BYTES = 256 << 10;
/** After this many consecutive refused nonces, the request fails. */
const MAX_NONCES = 24;
const MAX_DETAIL = 300;

type FailureKind = Exclude<OrderFailure["kind"], "challenge">;

/** Why an order failed; `kind` decides the next step. */
export class AcmeError extends Error {
  override readonly name = "AcmeError";

  constructor(
    readonly kind: FailureKind,
    message: string,
    readonly more: { type?: string | undefined; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
  }
}

interface CaResponse {
  status: number;
  location: string | undefined;
  retryAfterMs: number | undefined;
  text: string;
}

interface CaDirectory {
  newNonce: string;
  newAccount: string;
  newOrder: string;
  /** Absent if the CA does not say when to renew (RFC 9773). */
  renewalInfo?: string;
}

export interface CaOptions {
  /** The URL of the directory. */
  directory: string;
  /** Certificates that are trusted in addition to those of the runtime, in PEM. */
  ca: string | undefined;
  /** Ends all requests. */
  signal: AbortSignal;
  userAgent: string;
  timeoutMs?: number;
}

/** Returns a CA's message as one line of printable text. */
export function cleanText(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
  return line.length > MAX_DETAIL ? `${line.slice(0, MAX_DETAIL - 1)}…` : line;
}

export class CaConnection {
  private nonce: string | undefined;
  private known: CaDirectory | undefined;
  private readonly trust: object;

  constructor(private readonly options: CaOptions) {
    const ca = options.ca === undefined ? undefined : [...rootCertificates, options.ca];
    // Otherwise Node reads all certificates for each connection, which takes 20 ms. Bun does not support `secureContext` there.
    const isBun = process.versions.bun !== undefined;
    this.trust = ca === undefined ? {} : isBun ? { ca } : { secureContext: createSecureContext({ ca }) };
  }

  get host(): string {
    return new URL(this.options.directory).host;
  }

  /** @throws AcmeError */
  async directory(): Promise<CaDirectory> {
    if (this.known !== undefined) return this.known;
    const found = parse<Partial<CaDirectory>>(await this.read(this.options.directory), this.host);
    for (const name of ["newNonce", "newAccount", "newOrder"] as const)
      if (typeof found[name] !== "string")
        throw new AcmeError("unreachable", `${this.host} has no ACME directory: no ${name}`);
    this.known = found as CaDirectory;
    return this.known;
  }

  /**
   * Reads a resource without an account.
   * @throws AcmeError
   */
  async read(url: string): Promise<CaResponse> {
    return successful(await this.request("GET", url), this.host);
  }

  /**
   * Sends a signed request. A refused nonce is replaced.
   * @param payload undefined: the resource is read
   * @param account its URL; undefined: the key itself is sent
   * @throws AcmeError
   */
  async post(url: string, payload: object | undefined, key: KeyObject, account?: string): Promise<CaResponse> {
    const { newNonce } = await this.directory();
    for (let tries = 1; ; tries++) {
      if (this.nonce === undefined) await this.request("HEAD", newNonce);
      const { nonce } = this;
      if (nonce === undefined) throw new AcmeError("unreachable", `${this.host} returned no nonce`);
      this.nonce = undefined;
      const who = account === undefined ? { jwk: publicJwk(key) } : { kid: account };
      const body = jws({ alg: "ES256", nonce, url, ...who }, payload, (data) =>
        sign("sha256", data, { key, dsaEncoding: "ieee-p1363" }),
      );
      const response = await this.request("POST", url, JSON.stringify(body));
      if (tries < MAX_NONCES && problemOf(response)?.type === `${ERRORS}badNonce`) continue;
      return successful(response, this.host);
    }
  }

  private request(method: "GET" | "HEAD" | "POST", url: string, body?: string): Promise<CaResponse> {
    const { signal, userAgent, timeoutMs = TIMEOUT_MS } = this.options;
    return new Promise((resolve, reject) => {
      let isOver = false;
      const over = (act: () => void) => {
        if (isOver) return;
        isOver = true;
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        act();
      };
      const fail = (why: string, cause?: unknown) => {
        over(() => reject(new AcmeError("unreachable", `${this.host}: ${why}`, { cause })));
        outgoing?.destroy();
      };
      const abort = () => fail("aborted, because it took too long or the fleet stops");
      const timer = setTimeout(() => fail(`no response within ${timeoutMs / 1000} s`), timeoutMs);
      let outgoing: ReturnType<typeof requestHttps> | undefined;
      if (signal.aborted) return abort();
      signal.addEventListener("abort", abort, { once: true });
      try {
        const target = new URL(url);
        if (target.protocol !== "https:") return fail(`${url} is not an https URL`);
        const headers = {
          "User-Agent": userAgent,
          ...(body !== undefined && {
            "Content-Type": "application/jose+json",
            "Content-Length": String(Buffer.byteLength(body)),
          }),
        };
        outgoing = requestHttps(target, { method, headers, agent: false, ...this.trust }, (response) => {
          const { "replay-nonce": nonce, location, "retry-after": retryAfter } = response.headers;
          if (typeof nonce === "string") this.nonce = nonce;
          let text = "";
          response.setEncoding("utf8");
          response.on("error", (error) => fail(error.message, error));
          response.on("data", (part: string) => {
            text += part;
            if (text.length > MAX_RESPONSE_BYTES) fail(`its response has more than ${MAX_RESPONSE_BYTES} bytes`);
          });
          response.on("end", () => {
            const status = response.statusCode ?? 0;
            const found = location === undefined ? undefined : new URL(location, target).href;
            over(() => resolve({ status, location: found, retryAfterMs: retryAfterOf(retryAfter), text }));
          });
          response.on("close", () => fail("the connection was lost"));
        });
        outgoing.on("error", (error: NodeJS.ErrnoException) => fail(reasonOf(error), error));
        outgoing.end(body);
      } catch (error) {
        fail((error as Error).message, error);
      }
    });
  }
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  return unreachableText(code) ?? cleanText(message);
}

/** @param value seconds or a date */
export function retryAfterOf(value: string | undefined, now = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return 1000 * Number(value);
  const at = /[a-z]{3}/i.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isFinite(at) ? Math.max(0, at - now) : undefined;
}

const ERRORS = "urn:ietf:params:acme:error:";

interface Problem {
  type: string;
  detail: string;
}

/** Reads a problem document (RFC 7807). Its subproblems show the cause in more detail. */
export function problemText(problem: unknown): Problem | undefined {
  if (typeof problem !== "object" || problem === null) return undefined;
  const { type, detail, subproblems } = problem as { type?: unknown; detail?: unknown; subproblems?: unknown };
  if (typeof type !== "string") return undefined;
  const inner = Array.isArray(subproblems)
    ? subproblems.map(problemText).find((each) => each !== undefined)
    : undefined;
  const said = typeof detail === "string" ? detail : type.replace(ERRORS, "");
  return { type, detail: cleanText(inner === undefined ? said : `${said}: ${inner.detail}`) };
}

function problemOf({ status, text }: CaResponse): Problem | undefined {
  if (status < 400) return undefined;
  try {
    return problemText(JSON.parse(text));
  } catch {
    return undefined; // For example the page of a proxy.
  }
}

function successful(response: CaResponse, host: string): CaResponse {
  const { status, retryAfterMs } = response;
  if (status >= 200 && status < 300) return response;
  const problem = problemOf(response);
  const type = problem?.type.startsWith(ERRORS) ? problem.type.slice(ERRORS.length) : undefined;
  const detail = problem === undefined ? `status ${status}` : `${problem.detail} (${type ?? problem.type})`;
  throw new AcmeError(problemKindOf(status, type), `${host}: ${detail}`, { type, retryAfterMs });
}

const OF_ACCOUNTS = new Set([
  ...["accountDoesNotExist", "unauthorized", "externalAccountRequired", "userActionRequired"],
  ...["invalidContact", "unsupportedContact", "badSignatureAlgorithm", "badPublicKey"],
]);

/** @param type of the problem, without its prefix */
export function problemKindOf(status: number, type: string | undefined): FailureKind {
  if (type === "rateLimited" || status === 429) return "limited";
  if (type !== undefined && OF_ACCOUNTS.has(type)) return "account";
  if (status >= 500 || status < 400 || type === "badNonce" || type === "serverInternal") return "unreachable";
  return type === undefined ? "unreachable" : "refused";
}

/** @throws AcmeError */
export function parse<Document>({ text }: CaResponse, host: string): Document {
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === "object" && value !== null) return value as Document;
  } catch {
    // The error is reported below.
  }
  throw new AcmeError("unreachable", `${host}: its response is not JSON`);
}

/** Returns the public key in the form of RFC 7638: these members, in this order. */
export function publicJwk(key: KeyObject): { crv: string; kty: string; x: string; y: string } {
  const { crv = "", kty = "", x = "", y = "" } = createPublicKey(key).export({ format: "jwk" });
  return { crv, kty, x, y };
}

/**
 * Signs in the form that ACME uses (RFC 7515, flattened).
 * @param payload undefined: an empty one
 */
export function jws(protectedHeader: object, payload: object | undefined, signer: (data: Buffer) => Buffer): object {
  const head = Buffer.from(JSON.stringify(protectedHeader)).toString("base64url");
  const content = payload === undefined ? "" : Buffer.from(JSON.stringify(payload)).toString("base64url");
  const signature = signer(Buffer.from(`${head}.${content}`)).toString("base64url");
  return { protected: head, payload: content, signature };
}

/** Binds an account to one that the CA already knows (RFC 8555 §7.3.4). */
export function externalBinding(
  { keyId, hmacKey }: { keyId: string; hmacKey: string },
  url: string,
  key: KeyObject,
): object {
  const secret = Buffer.from(hmacKey, "base64url");
  return jws({ alg: "HS256", kid: keyId, url }, publicJwk(key), (data) =>
    createHmac("sha256", secret).update(data).digest(),
  );
}
