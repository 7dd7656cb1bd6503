/** Verifies AWS Signature Version 4: in the Authorization field, in a presigned URL, and of each chunk of a body. Pure. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { S3Error } from "./errors.ts";
import { decodeUri, encodePath, encodeUri, type Query } from "./uri.ts";

const ALGORITHM = "AWS4-HMAC-SHA256";
const MAX_SKEW_MS = 15 * 60_000;
const MAX_EXPIRES_S = 7 * 86_400;
const EMPTY_HASH = hashOf("");
export const UNSIGNED = "UNSIGNED-PAYLOAD";

/** What a signature covers. */
export interface SignedParts {
  method: string;
  /** As sent. */
  path: string;
  query: Query;
  headers: Pick<Headers, "get" | "keys">;
}

/** The sender of a request, and the stated hash of its body. */
export interface Identity {
  accessKey: string;
  /** The value of x-amz-content-sha256. */
  payloadHash: string;
  chunks: ChunkSignatures;
}

interface Claim {
  accessKey: string;
  /** `20260131/us-east-1/s3/aws4_request` */
  scope: string;
  region: string;
  day: string;
  time: string;
  signedHeaders: string[];
  signature: string;
  payloadHash: string;
}

/** The secret of an access key; undefined if there is none. */
export type SecretOf = (accessKey: string) => string | undefined;

/**
 * Returns undefined if the request is not signed.
 *
 * @throws S3Error if it is signed and the signature is not good
 */
export function verifySignature(parts: SignedParts, secretOf: SecretOf, nowMs: number): Identity | undefined {
  const { headers, query } = parts;
  const authorization = headers.get("authorization");
  const isPresigned = query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature");
  if (authorization === null && !isPresigned) {
    if (query.has("AWSAccessKeyId")) throw new S3Error("InvalidRequest", "Sign with AWS4-HMAC-SHA256 (version 4)");
    return undefined;
  }
  if (authorization !== null && isPresigned) {
    throw new S3Error("InvalidArgument", "Only one auth mechanism allowed: the query, or the Authorization field");
  }
  const claim = authorization === null ? claimOfQuery(parts, nowMs) : claimOfField(authorization, parts, nowMs);
  requireSigned(claim, parts, isPresigned);
  const secret = secretOf(claim.accessKey);
  if (secret === undefined) throw new S3Error("InvalidAccessKeyId");
  const key = ["s3", "aws4_request"].reduce(hmac, hmac(hmac(Buffer.from(`AWS4${secret}`), claim.day), claim.region));
  // A client signs the path as it sends it or as S3 would encode it; the two differ only for unusual clients.
  const asSent = parts.path;
  const encoded = encodePath(decodeUri(asSent));
  const paths = asSent === encoded ? [asSent] : [asSent, encoded];
  const prefix = `${claim.time}\n${claim.scope}\n`;
  const isGood = paths.some((path) => {
    const canonical = hashOf(canonicalRequest(parts, path, claim.signedHeaders, claim.payloadHash), "latin1");
    return isSame(hmac(key, `${ALGORITHM}\n${prefix}${canonical}`).toString("hex"), claim.signature);
  });
  if (!isGood) throw new S3Error("SignatureDoesNotMatch");
  const { accessKey, payloadHash, signature } = claim;
  return { accessKey, payloadHash, chunks: new ChunkSignatures(key, prefix, signature) };
}

function claimOfField(field: string, { headers }: SignedParts, nowMs: number): Claim {
  const malformed = (why: string) => new S3Error("AuthorizationHeaderMalformed", `The authorization header: ${why}`);
  if (!field.startsWith(`${ALGORITHM} `)) {
    if (field.startsWith("AWS ")) throw new S3Error("InvalidRequest", "Sign with AWS4-HMAC-SHA256 (version 4)");
    throw malformed(`it must begin with ${ALGORITHM}`);
  }
  const values = new Map<string, string>();
  for (const entry of field.slice(ALGORITHM.length + 1).split(",")) {
    const [name = "", value = ""] = entry.trim().split("=", 2);
    values.set(name, value);
  }
  const time = timeOf(headers);
  if (Math.abs(nowMs - epochOf(time)) > MAX_SKEW_MS) throw new S3Error("RequestTimeTooSkewed");
  const payloadHash = headers.get("x-amz-content-sha256");
  if (payloadHash === null) throw new S3Error("InvalidRequest", "Missing required header: x-amz-content-sha256");
  return {
    ...credentialOf(values.get("Credential"), time, malformed),
    ...{ time, payloadHash },
    signedHeaders: signedHeadersOf(values.get("SignedHeaders"), malformed),
    signature: signatureOf(values.get("Signature"), malformed),
  };
}

function claimOfQuery({ query, headers }: SignedParts, nowMs: number): Claim {
  const malformed = (why: string) => new S3Error("AuthorizationQueryParametersError", `The query's signature: ${why}`);
  if (query.get("X-Amz-Algorithm") !== ALGORITHM) throw malformed(`X-Amz-Algorithm must be ${ALGORITHM}`);
  const time = query.get("X-Amz-Date") ?? "";
  const signedAt = epochOf(time);
  if (Number.isNaN(signedAt)) throw malformed("X-Amz-Date must have the form 20260131T120000Z");
  const expires = query.get("X-Amz-Expires") ?? "";
  if (!/^\d{1,6}$/.test(expires) || Number(expires) < 1 || Number(expires) > MAX_EXPIRES_S) {
    throw malformed("X-Amz-Expires must be a number of seconds from 1 to 604800");
  }
  if (signedAt - nowMs > MAX_SKEW_MS) throw new S3Error("AccessDenied", "Request is not valid yet");
  if (nowMs > signedAt + Number(expires) * 1000) throw new S3Error("AccessDenied", "Request has expired");
  return {
    ...credentialOf(query.get("X-Amz-Credential"), time, malformed),
    time,
    payloadHash: query.get("X-Amz-Content-Sha256") ?? headers.get("x-amz-content-sha256") ?? UNSIGNED,
    signedHeaders: signedHeadersOf(query.get("X-Amz-SignedHeaders"), malformed),
    signature: signatureOf(query.get("X-Amz-Signature"), malformed),
  };
}

type Malformed = (why: string) => S3Error;

function credentialOf(credential: string | undefined, time: string, malformed: Malformed) {
  const [, accessKey = "", scope = "", day = "", region = ""] =
    /^(.+?)\/((\d{8})\/([^/]+)\/s3\/aws4_request)$/.exec(credential ?? "") ?? [];
  if (accessKey === "") throw malformed("a credential has the form KEY/20260131/REGION/s3/aws4_request");
  if (!time.startsWith(day)) throw malformed("the credential is of another day than the request");
  return { accessKey, scope, day, region };
}

function signedHeadersOf(list: string | undefined, malformed: Malformed): string[] {
  const names = (list ?? "").split(";");
  if (names.length > 100 || names.some((name) => !/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name))) {
    throw malformed("SignedHeaders must be names in lower case, separated by semicolons");
  }
  return names;
}

function signatureOf(text: string | undefined, malformed: Malformed): string {
  if (text === undefined || !/^[0-9a-f]{64}$/.test(text)) throw malformed("a signature has 64 hexadecimal digits");
  return text;
}

/** The fields that must be signed: the host, and each field that the store uses. Others could be changed in transit. */
function requireSigned({ signedHeaders }: Claim, { headers }: SignedParts, isPresigned: boolean): void {
  const signed = new Set(signedHeaders);
  const mayBeUnsigned = (name: string) =>
    !name.startsWith("x-amz-") || (isPresigned && name === "x-amz-content-sha256");
  const missing = ["host", ...headers.keys()].find(
    (name) => !(signed.has(name) || (name !== "host" && mayBeUnsigned(name))),
  );
  if (missing !== undefined) throw new S3Error("AccessDenied", `The field ${missing} is present but not signed`);
}

export function canonicalRequest(
  { method, query, headers }: Omit<SignedParts, "path">,
  path: string,
  signedHeaders: string[],
  payloadHash: string,
): string {
  const pairs = query.pairs
    .filter(([name]) => name !== "X-Amz-Signature")
    .map(([name, value]) => [encodeUri(name), encodeUri(value)] as const)
    .sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0));
  const fields = signedHeaders.map((name) => `${name}:${(headers.get(name) ?? "").trim().replace(/ +/g, " ")}\n`);
  const parameters = pairs.map(([name, value]) => `${name}=${value}`).join("&");
  return [method, path, parameters, fields.join(""), signedHeaders.join(";"), payloadHash].join("\n");
}

/** The signatures of a body's chunks, each of which covers the one before; the first covers that of the request. */
export class ChunkSignatures {
  constructor(
    private readonly key: Buffer,
    private readonly prefix: string,
    private previous: string,
  ) {}

  /** @throws S3Error SignatureDoesNotMatch */
  checkChunk(hash: string, signature: string): void {
    this.check(`AWS4-HMAC-SHA256-PAYLOAD\n${this.prefix}${this.previous}\n${EMPTY_HASH}\n${hash}`, signature);
  }

  /** @throws S3Error SignatureDoesNotMatch */
  checkTrailer(hash: string, signature: string): void {
    this.check(`AWS4-HMAC-SHA256-TRAILER\n${this.prefix}${this.previous}\n${hash}`, signature);
  }

  private check(text: string, signature: string): void {
    const right = hmac(this.key, text).toString("hex");
    if (!isSame(right, signature))
      throw new S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match");
    this.previous = right;
  }
}

function timeOf(headers: SignedParts["headers"]): string {
  const time = headers.get("x-amz-date");
  if (time !== null && !Number.isNaN(epochOf(time))) return time;
  const date = Date.parse(headers.get("date") ?? "");
  if (time !== null || Number.isNaN(date)) throw new S3Error("AccessDenied", "A valid x-amz-date or Date is required");
  return new Date(date).toISOString().replace(/[-:]|\.\d+/g, "");
}

/** The milliseconds of `20260131T120000Z`; NaN if it has another form. */
function epochOf(time: string): number {
  const digits = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(time);
  if (digits === null) return Number.NaN;
  const [, year, month, day, hour, minute, second] = digits;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

/** In constant time. */
function isSame(right: string, given: string): boolean {
  return given.length === right.length && timingSafeEqual(Buffer.from(given, "latin1"), Buffer.from(right, "latin1"));
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function hashOf(text: string, encoding: "utf8" | "latin1" = "utf8"): string {
  return createHash("sha256").update(text, encoding).digest("hex");
}
