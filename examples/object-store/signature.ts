/** Verifies AWS Signature Version 4: in the Authorization field, in a presigned URL, and for each chunk of a body. Pure. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { demand, S3Error } from "./errors.ts";
import { decodeUri, encodePath, encodeUri } from "./uri.ts";

const ALGORITHM = "AWS4-HMAC-SHA256";
const MAX_SKEW_MS = 15 * 60_000;
const MAX_EXPIRES_S = 7 * 86_400;
export const hashOf = (text: string, encoding: "utf8" | "latin1" = "utf8") =>
  createHash("sha256").update(text, encoding).digest("hex");
const EMPTY_HASH = hashOf("");
export const UNSIGNED = "UNSIGNED-PAYLOAD";

/** The parts that a signature covers. */
export interface SignedParts {
  method: string;
  /** As sent. */
  path: string;
  query: URLSearchParams;
  headers: Pick<Headers, "get" | "keys">;
}

/** By access key. */
export type Secrets = ReadonlyMap<string, string>;

/** The sender of a request, and the stated hash of its body. */
export interface Identity {
  accessKey: string;
  /** The value of x-amz-content-sha256. */
  payloadHash: string;
  checkChunk: CheckChunk;
}

/**
 * Returns undefined if the request is not signed.
 * @throws S3Error if it is signed and the signature is not valid
 */
export function verifySignature(parts: SignedParts, secrets: Secrets, nowMs: number): Identity | undefined {
  const { headers, query } = parts;
  const authorization = headers.get("authorization");
  const isPresigned = query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature");
  const isOld = authorization?.startsWith("AWS ") || (authorization === null && query.has("AWSAccessKeyId"));
  demand(!isOld, "InvalidRequest", `Sign with ${ALGORITHM} (version 4)`);
  if (authorization === null && !isPresigned) return undefined;
  const isOnce = authorization === null || !isPresigned;
  demand(isOnce, "InvalidArgument", "Only one auth mechanism allowed: the query, or the Authorization field");
  const claim = authorization === null ? claimOfQuery(parts, nowMs) : claimOfField(authorization, parts, nowMs);
  // The host, and each field that the store uses, must be signed: others could be changed in transit.
  for (const name of ["host", ...headers.keys()]) {
    if (claim.signedHeaders.includes(name) || (isPresigned && name === "x-amz-content-sha256")) continue;
    const isFree = name !== "host" && !name.startsWith("x-amz-");
    demand(isFree, "AccessDenied", `The field ${name} is present but not signed`);
  }
  const secret = secrets.get(claim.accessKey);
  demand(secret !== undefined, "InvalidAccessKeyId");
  const key = [claim.day, claim.region, "s3", "aws4_request"].reduce(hmac, Buffer.from(`AWS4${secret}`));
  // A client signs the path either as it sends it or as S3 would encode it; the two differ only for unusual clients.
  const paths = new Set([parts.path, encodePath(decodeUri(parts.path))]);
  const prefix = `${claim.time}\n${claim.scope}\n`;
  const isGood = [...paths].some((path) => {
    const canonical = hashOf(canonicalRequest(parts, path, claim), "latin1");
    return isSame(hmac(key, `${ALGORITHM}\n${prefix}${canonical}`).toString("hex"), claim.signature);
  });
  demand(isGood, "SignatureDoesNotMatch");
  const { accessKey, payloadHash, signature } = claim;
  return { accessKey, payloadHash, checkChunk: chunkChecker(key, prefix, signature) };
}

function claimOfField(field: string, { headers }: SignedParts, nowMs: number) {
  const malformed = (why: string) => new S3Error("AuthorizationHeaderMalformed", `The authorization header: ${why}`);
  if (!field.startsWith(`${ALGORITHM} `)) throw malformed(`it must begin with ${ALGORITHM}`);
  const entries = field.slice(ALGORITHM.length + 1).split(",");
  const values = new Map(entries.map((entry) => entry.trim().split("=", 2) as [string, string]));
  const date = new Date(headers.get("date") ?? "").toJSON()?.replace(/[-:]|\.\d+/g, "");
  const time = headers.get("x-amz-date") ?? date ?? "";
  demand(!Number.isNaN(epochOf(time)), "AccessDenied", "A valid x-amz-date or Date is required");
  demand(Math.abs(nowMs - epochOf(time)) <= MAX_SKEW_MS, "RequestTimeTooSkewed");
  const payloadHash = headers.get("x-amz-content-sha256");
  demand(payloadHash !== null, "InvalidRequest", "Missing required header: x-amz-content-sha256");
  return claimOf((name) => values.get(name), time, payloadHash, malformed);
}

function claimOfQuery({ query, headers }: SignedParts, nowMs: number) {
  const malformed = (why: string) => new S3Error("AuthorizationQueryParametersError", `The query's signature: ${why}`);
  const get = (name: string) => query.get(`X-Amz-${name}`) ?? undefined;
  if (get("Algorithm") !== ALGORITHM) throw malformed(`X-Amz-Algorithm must be ${ALGORITHM}`);
  const time = get("Date") ?? "";
  const signedAt = epochOf(time);
  if (Number.isNaN(signedAt)) throw malformed("X-Amz-Date must have the form 20260131T120000Z");
  const expires = get("Expires") ?? "";
  if (!/^\d{1,6}$/.test(expires) || Number(expires) < 1 || Number(expires) > MAX_EXPIRES_S) {
    throw malformed("X-Amz-Expires must be a number of seconds from 1 to 604800");
  }
  demand(signedAt - nowMs <= MAX_SKEW_MS, "AccessDenied", "Request is not valid yet");
  demand(nowMs <= signedAt + Number(expires) * 1000, "AccessDenied", "Request has expired");
  const payloadHash = get("Content-Sha256") ?? headers.get("x-amz-content-sha256") ?? UNSIGNED;
  return claimOf(get, time, payloadHash, malformed);
}

type Claim = ReturnType<typeof claimOf>;
type Get = (name: string) => string | undefined;

/** @param get returns the value of Credential, SignedHeaders or Signature */
function claimOf(get: Get, time: string, payloadHash: string, malformed: (why: string) => S3Error) {
  const [, accessKey = "", scope = "", day = "", region = ""] =
    /^(.+?)\/((\d{8})\/([^/]+)\/s3\/aws4_request)$/.exec(get("Credential") ?? "") ?? [];
  if (accessKey === "") throw malformed("a credential has the form KEY/20260131/REGION/s3/aws4_request");
  if (!time.startsWith(day)) throw malformed("the credential is of another day than the request");
  const signedHeaders = (get("SignedHeaders") ?? "").split(";");
  if (signedHeaders.length > 100 || signedHeaders.some((name) => !/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name))) {
    throw malformed("SignedHeaders must be names in lower case, separated by semicolons");
  }
  const signature = get("Signature") ?? "";
  if (!/^[0-9a-f]{64}$/.test(signature)) throw malformed("a signature has 64 hexadecimal digits");
  return { accessKey, scope, day, region, signedHeaders, signature, time, payloadHash };
}

function canonicalRequest({ method, query, headers }: SignedParts, path: string, claim: Claim): string {
  const { signedHeaders, payloadHash } = claim;
  // By name, then by value: a line feed sorts before all characters that may continue a name.
  const pairs = [...query]
    .filter(([name]) => name !== "X-Amz-Signature")
    .map(([name, value]) => `${encodeUri(name)}\n${encodeUri(value)}`)
    .sort();
  const parameters = pairs.join("&").replaceAll("\n", "=");
  const fields = signedHeaders.map((name) => `${name}:${(headers.get(name) ?? "").trim().replace(/ +/g, " ")}\n`);
  return [method, path, parameters, fields.join(""), signedHeaders.join(";"), payloadHash].join("\n");
}

/** @throws S3Error SignatureDoesNotMatch */
export type CheckChunk = (kind: "PAYLOAD" | "TRAILER", hash: string, signature: string) => void;

/** For the signatures of a body's chunks: each covers the previous one, and the first covers that of the request. */
function chunkChecker(key: Buffer, prefix: string, first: string): CheckChunk {
  let previous = first;
  return (kind, hash, signature) => {
    const hashes = kind === "PAYLOAD" ? `${EMPTY_HASH}\n${hash}` : hash;
    const right = hmac(key, `${ALGORITHM}-${kind}\n${prefix}${previous}\n${hashes}`).toString("hex");
    demand(isSame(right, signature), "SignatureDoesNotMatch", "The signature of a chunk does not match");
    previous = right;
  };
}

/** Returns the milliseconds of `20260131T120000Z`; NaN for another format. */
function epochOf(time: string): number {
  const form = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;
  return form.test(time) ? Date.parse(time.replace(form, "$1-$2-$3T$4:$5:$6Z")) : Number.NaN;
}

/** In constant time. */
const isSame = (right: string, given: string) =>
  given.length === right.length && timingSafeEqual(Buffer.from(given, "latin1"), Buffer.from(right, "latin1"));

const hmac = (key: Buffer, text: string) => createHmac("sha256", key).update(text).digest();
