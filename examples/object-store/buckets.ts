/** Buckets, and the listings of their objects. */
import { type Call, isoTime, requireBucket, xmlResponse } from "./call.ts";
import { type ErrorCode, S3Error } from "./errors.ts";
import { type ListPage, listPage } from "./listing.ts";
import type { ObjectEntry } from "./metadata.ts";
import { LIMITS } from "./settings.ts";
import { encodePath } from "./uri.ts";
import type { XmlContent } from "./xml.ts";

/** There are no users beside the owner of everything. */
const OWNER = { ID: "owner", DisplayName: "owner" };

export async function listBuckets({ store }: Call): Promise<Response> {
  const buckets = await store.metadata.buckets();
  const Bucket = buckets.map(({ name, created }) => ({ Name: name, CreationDate: isoTime(created) }));
  return xmlResponse("ListAllMyBucketsResult", { Owner: OWNER, Buckets: { Bucket } });
}

export async function createBucket({ store, bucket }: Call): Promise<Response> {
  const isGood = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) && !/\.\.|^(?:\d+\.){3}\d+$/.test(bucket);
  if (!isGood) throw new S3Error("InvalidBucketName");
  await store.metadata.createBucket(bucket, Date.now());
  return new Response(null, { headers: { location: `/${bucket}` } });
}

export async function headBucket(call: Call): Promise<Response> {
  await requireBucket(call);
  return new Response(null, { headers: { "x-amz-bucket-region": "us-east-1" } });
}

export async function deleteBucket(call: Call): Promise<Response> {
  await requireBucket(call);
  await call.store.metadata.deleteBucket(call.bucket, Date.now());
  return new Response(null, { status: 204 });
}

/** Features that clients query automatically, and the responses of a store without them. */
const ABSENT: Record<string, ErrorCode> = {
  cors: "NoSuchCORSConfiguration",
  encryption: "ServerSideEncryptionConfigurationNotFoundError",
  lifecycle: "NoSuchLifecycleConfiguration",
  "object-lock": "ObjectLockConfigurationNotFoundError",
  policy: "NoSuchBucketPolicy",
  tagging: "NoSuchTagSet",
};
const FEATURES = [
  ...["accelerate", "acl", "analytics", "attributes", "intelligent-tiering", "inventory", "legal-hold", "location"],
  ...["logging", "metrics", "notification", "ownershipControls", "policyStatus", "publicAccessBlock", "replication"],
  ...["requestPayment", "restore", "retention", "select", "torrent", "versioning", "versions", "website"],
  ...Object.keys(ABSENT),
];

/** Returns the response to a request for a feature that a bucket or object may have; undefined if it is for another thing. */
export async function featureResponse(call: Call): Promise<Response | undefined> {
  const feature = FEATURES.find((name) => call.query.has(name));
  if (feature === undefined) return undefined;
  await requireBucket(call);
  if (call.request.method !== "GET") throw new S3Error("NotImplemented", `The store does not implement ${feature}`);
  switch (feature) {
    case "location":
      return xmlResponse("LocationConstraint", {});
    case "versioning":
      return xmlResponse("VersioningConfiguration", {});
    case "requestPayment":
      return xmlResponse("RequestPaymentConfiguration", { Payer: "BucketOwner" });
    case "tagging":
      if (call.key !== "") return xmlResponse("Tagging", { TagSet: {} });
      break;
    default:
  }
  throw new S3Error(ABSENT[feature] ?? "NotImplemented");
}

/** ListObjects, or ListObjectsV2 with `list-type=2`. */
export async function listObjects(call: Call): Promise<Response> {
  const { store, bucket, query } = call;
  await requireBucket(call);
  const isV2 = query.get("list-type") === "2";
  const encoding = query.get("encoding-type");
  if (encoding !== undefined && encoding !== "url") throw new S3Error("InvalidArgument", "encoding-type must be url");
  const encode = encoding === undefined ? (text: string) => text : encodePath;
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter") ?? "";
  const token = isV2 ? query.get("continuation-token") : undefined;
  const start = query.get(isV2 ? "start-after" : "marker");
  const after = token === undefined ? start || undefined : readToken(token);
  const most = query.number("max-keys", LIMITS.listed, 0, LIMITS.listed);
  const page: ListPage<ObjectEntry> =
    most === 0
      ? { objects: [], commonPrefixes: [], next: undefined }
      : await listPage({ prefix, delimiter, after, most }, (range, limit) => store.metadata.list(bucket, range, limit));
  const { objects, commonPrefixes, next } = page;
  const position: XmlContent = isV2
    ? {
        ...{ StartAfter: start === undefined ? undefined : encode(start), ContinuationToken: token },
        NextContinuationToken: next === undefined ? undefined : Buffer.from(next).toString("base64url"),
        KeyCount: objects.length + commonPrefixes.length,
      }
    : { Marker: encode(start ?? ""), NextMarker: next === undefined ? undefined : encode(next) };
  const hasOwner = !isV2 || query.get("fetch-owner") === "true";
  return xmlResponse("ListBucketResult", {
    ...{ Name: bucket, Prefix: encode(prefix), ...position, MaxKeys: most },
    ...{ Delimiter: delimiter === "" ? undefined : encode(delimiter), EncodingType: encoding },
    IsTruncated: next !== undefined,
    Contents: objects.map(({ key, modified, etag, size }) => ({
      ...{ Key: encode(key), LastModified: isoTime(modified), ETag: `"${etag}"`, Size: size },
      ...{ StorageClass: "STANDARD", Owner: hasOwner ? OWNER : undefined },
    })),
    CommonPrefixes: commonPrefixes.map((each) => ({ Prefix: encode(each) })),
  });
}

export function readToken(token: string): string {
  const key = Buffer.from(token, "base64url").toString("utf8");
  if (key !== "" && Buffer.from(key).toString("base64url") === token) return key;
  throw new S3Error("InvalidArgument", "The continuation token provided is incorrect");
}
