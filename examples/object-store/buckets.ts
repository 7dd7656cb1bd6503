/** Buckets, and the listings of their objects. */
import { type Call, isoTime, xmlResponse } from "./call.ts";
import { demand, S3Error } from "./errors.ts";
import { listPage } from "./listing.ts";
import { ABSENT, FEATURES } from "./operations.ts";
import { LIMITS } from "./settings.ts";
import { encodePath, numberIn } from "./uri.ts";

/** There are no users except the owner of everything. */
const OWNER = { ID: "owner", DisplayName: "owner" };

export async function listBuckets({ store }: Call): Promise<Response> {
  const buckets = await store.metadata.buckets();
  const Bucket = buckets.map(({ name, created }) => ({ Name: name, CreationDate: isoTime(created) }));
  return xmlResponse("ListAllMyBucketsResult", { Owner: OWNER, Buckets: { Bucket } });
}

/** Prefixes and suffixes of names that S3 reserves. */
const RESERVED = /^(?:xn--|sthree-|amzn-s3-demo-)|(?:-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$/;

export function isBucketName(name: string): boolean {
  const isGood = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name) && !/\.\.|^(?:\d+\.){3}\d+$/.test(name);
  return isGood && !RESERVED.test(name);
}

export async function createBucket({ store, bucket }: Call): Promise<Response> {
  demand(isBucketName(bucket), "InvalidBucketName");
  await store.metadata.createBucket(bucket, Date.now());
  return new Response(null, { headers: { location: `/${bucket}` } });
}

export async function headBucket(): Promise<Response> {
  return new Response(null, { headers: { "x-amz-bucket-region": "us-east-1" } });
}

export async function deleteBucket({ store, bucket }: Call): Promise<Response> {
  await store.metadata.deleteBucket(bucket, Date.now());
  return new Response(null, { status: 204 });
}

/** Returns the response to a request for an optional feature of a bucket or object; undefined for other requests. */
export async function featureResponse(call: Call): Promise<Response | undefined> {
  const feature = [...call.query.keys()].find((name) => FEATURES.has(name));
  if (feature === undefined) return undefined;
  demand(await call.store.metadata.hasBucket(call.bucket), "NoSuchBucket");
  if (call.request.method !== "GET") throw new S3Error("NotImplemented", `The store does not implement ${feature}`);
  if (feature === "location") return xmlResponse("LocationConstraint", {});
  if (feature === "versioning") return xmlResponse("VersioningConfiguration", {});
  if (feature === "requestPayment") return xmlResponse("RequestPaymentConfiguration", { Payer: "BucketOwner" });
  if (feature === "tagging" && call.key !== "") return xmlResponse("Tagging", { TagSet: {} });
  throw new S3Error(ABSENT[feature] ?? "NotImplemented");
}

/** ListObjects, or ListObjectsV2 with `list-type=2`. */
export async function listObjects(call: Call): Promise<Response> {
  const { store, bucket, query } = call;
  const isV2 = query.get("list-type") === "2";
  const encode = encoderOf(call);
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter") ?? "";
  const token = isV2 ? query.get("continuation-token") : null;
  const start = query.get(isV2 ? "start-after" : "marker");
  const after = token === null ? start || undefined : readToken(token);
  const most = numberIn(query, "max-keys", LIMITS.listed, 0, LIMITS.listed);
  const { objects, commonPrefixes, next } = await listPage({ prefix, delimiter, after, most }, (from, to, limit) =>
    store.metadata.list(bucket, from, to, limit),
  );
  const optional = (text: string | null | undefined) => (text ? encode(text) : undefined);
  const position = isV2
    ? {
        ...{ StartAfter: optional(start), ContinuationToken: token },
        NextContinuationToken: next && Buffer.from(next).toString("base64url"),
        KeyCount: objects.length + commonPrefixes.length,
      }
    : { Marker: encode(start ?? ""), NextMarker: optional(next) };
  const hasOwner = !isV2 || query.get("fetch-owner") === "true";
  return xmlResponse("ListBucketResult", {
    ...{ Name: bucket, Prefix: encode(prefix), ...position, MaxKeys: most },
    ...{ Delimiter: optional(delimiter), EncodingType: query.get("encoding-type") },
    IsTruncated: next !== undefined,
    Contents: objects.map(({ key, modified, etag, size }) => ({
      ...{ Key: encode(key), LastModified: isoTime(modified), ETag: `"${etag}"`, Size: size },
      ...{ StorageClass: "STANDARD", Owner: hasOwner ? OWNER : undefined },
    })),
    CommonPrefixes: commonPrefixes.map((each) => ({ Prefix: encode(each) })),
  });
}

/**
 * How a listing writes a key.
 * @throws S3Error InvalidArgument
 */
export function encoderOf({ query }: Call): (key: string) => string {
  const encoding = query.get("encoding-type");
  if (encoding === null) return (key) => key;
  if (encoding !== "url") throw new S3Error("InvalidArgument", "encoding-type must be url");
  return encodePath;
}

/** @throws S3Error InvalidArgument */
export function readToken(token: string): string {
  const key = Buffer.from(token, "base64url").toString("utf8");
  if (key !== "" && !key.includes("\0") && Buffer.from(key).toString("base64url") === token) return key;
  throw new S3Error("InvalidArgument", "The continuation token provided is incorrect");
}
