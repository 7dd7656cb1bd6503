/** Which operation a request means, and which parameters and fields it may have. Pure. */
import type { Call } from "./call.ts";
import { demand, type ErrorCode, S3Error } from "./errors.ts";

interface Operation {
  name: string;
  methods: string;
  /** The parameter, or the field `x-amz-copy-source`, that distinguishes it from others with the same method. */
  by?: string;
  /** The parameters of SELECTORS, and those with `x-amz-`, that it accepts. */
  parameters?: string;
  /** Parameters that S3 supports for it and the store does not. */
  lacks?: string;
  /** Without `x-amz-`; a name that ends in `*` stands for all that begin with it. */
  fields?: string;
}

const CHECKSUMS = "checksum-crc32 checksum-crc32c checksum-crc64nvme checksum-sha1 checksum-sha256";
const BODY = `decoded-content-length trailer ${CHECKSUMS}`;
const OBJECT = "acl storage-class meta-*";
const SOURCE = "copy-source copy-source-if-*";
const PART_SOURCE = `${SOURCE} copy-source-range`;
const COPY = `${SOURCE} ${OBJECT} metadata-directive tagging-directive`;
const LISTED = "bucket-region continuation-token prefix";
const PART = "uploadId partNumber";
const UPLOAD = `${OBJECT} checksum-algorithm checksum-type`;
const DELETION = "if-match-size if-match-last-modified-time";

/** The first match counts. */
const OF_SERVICE: Operation[] = [{ name: "listBuckets", methods: "GET", lacks: LISTED }];
const OF_BUCKET: Operation[] = [
  { name: "listUploads", methods: "GET", by: "uploads", lacks: "delimiter" },
  { name: "listObjects", methods: "GET", parameters: "list-type" },
  { name: "headBucket", methods: "HEAD" },
  { name: "createBucket", methods: "PUT", fields: `acl ${BODY}` },
  { name: "deleteBucket", methods: "DELETE" },
  { name: "deleteObjects", methods: "POST", by: "delete", fields: BODY },
];
const OF_OBJECT: Operation[] = [
  { name: "listParts", methods: "GET", by: "uploadId" },
  { name: "getObject", methods: "GET HEAD", parameters: "versionId x-amz-checksum-mode", fields: "checksum-mode" },
  { name: "copyPart", methods: "PUT", by: "x-amz-copy-source", parameters: PART, fields: PART_SOURCE },
  { name: "uploadPart", methods: "PUT", by: "uploadId", parameters: PART, fields: BODY },
  { name: "copyObject", methods: "PUT", by: "x-amz-copy-source", fields: COPY },
  { name: "putObject", methods: "PUT", parameters: "x-amz-checksum-crc32", fields: `${OBJECT} ${BODY}` },
  { name: "createUpload", methods: "POST", by: "uploads", fields: UPLOAD },
  { name: "completeUpload", methods: "POST", by: "uploadId", fields: `${BODY} checksum-type mp-object-size` },
  { name: "abortUpload", methods: "DELETE", by: "uploadId" },
  { name: "deleteObject", methods: "DELETE", parameters: "versionId", fields: DELETION },
];

/** Parameters that change the meaning of a request: those of another operation are rejected. */
const SELECTORS = "delete list-type partNumber uploadId uploads versionId".split(" ");

/** The errors for features that clients ask about by themselves. */
export const ABSENT: Record<string, ErrorCode> = {
  cors: "NoSuchCORSConfiguration",
  encryption: "ServerSideEncryptionConfigurationNotFoundError",
  lifecycle: "NoSuchLifecycleConfiguration",
  "object-lock": "ObjectLockConfigurationNotFoundError",
  policy: "NoSuchBucketPolicy",
  tagging: "NoSuchTagSet",
};

/** Parameters that name features which S3 has and the store does not. */
export const FEATURES: ReadonlySet<string> = new Set([
  ...Object.keys(ABSENT),
  ..."abac accelerate acl analytics append attributes intelligent-tiering inventory legal-hold location".split(" "),
  ..."logging metadataConfiguration metadataTable metrics notification ownershipControls policyStatus".split(" "),
  ..."publicAccessBlock renameObject replication requestPayment restore retention select session".split(" "),
  ..."torrent versioning versions website".split(" "),
]);

/** What every request may have: its signature, and what clients add without a meaning for a store with one owner. */
const FIELDS = "date content-sha256 user-agent sdk-checksum-algorithm request-payer";
const SIGNATURE = "Algorithm Credential Date Expires SignedHeaders Signature Content-Sha256 User-Agent";
const PARAMETERS = ["x-amz-sdk-checksum-algorithm", ...SIGNATURE.split(" ").map((name) => `X-Amz-${name}`)];

/** The values of fields and, after `?`, of parameters that the store supports, and the error for other values. */
const VALUES: Record<string, [values: RegExp, code: ErrorCode]> = {
  "?versionId": [/^null$/, "NoSuchVersion"],
  // AWS's SDK for JavaScript puts the checksum of an empty body into a presigned URL: it says nothing about the later body.
  "?x-amz-checksum-crc32": [/^AAAAAA==$/, "NotImplemented"],
  "?list-type": [/^2$/, "InvalidArgument"],
  "x-amz-acl": [/^(?:private|bucket-owner-full-control)$/, "AccessControlListNotSupported"],
  "x-amz-storage-class": [/^STANDARD$/, "NotImplemented"],
  "x-amz-metadata-directive": [/^(?:COPY|REPLACE)$/, "InvalidArgument"],
};

/** @throws S3Error if there is no such operation, or the store does not support what is requested */
export function operationOf({ request, bucket, key, query }: Omit<Call, "store" | "requestId" | "identity">): string {
  const { method, headers } = request;
  const has = (name: string) => headers.has(name) || query.has(name);
  const table = bucket === "" ? OF_SERVICE : key === "" ? OF_BUCKET : OF_OBJECT;
  const isMeant = ({ name, by }: Operation) =>
    (by === undefined || has(by)) && (name !== "copyPart" || has("uploadId"));
  const found = table.find((each) => each.methods.split(" ").includes(method) && isMeant(each));
  const isForm = found === undefined && table === OF_BUCKET && method === "POST";
  demand(!isForm, "NotImplemented", "Uploads from HTML forms are not implemented");
  demand(found !== undefined, "MethodNotAllowed");
  const known = [...PARAMETERS, found.by, ...(found.parameters ?? "").split(" ")];
  const lacking = [...SELECTORS, ...(found.lacks ?? "").split(" ")];
  for (const [name, value] of query) {
    // S3 ignores all others, so that anybody may add `?v=3` to a link.
    const isUnknown = !known.includes(name) && (lacking.includes(name) || /^x-amz-/i.test(name));
    if (isUnknown || FEATURES.has(name)) throw lacks(`the parameter ${name} of this request`);
    checkValue(`?${name}`, value);
  }
  const fields = `${FIELDS} ${found.fields ?? ""}`.split(" ").map((name) => `x-amz-${name}`);
  for (const [name, value] of headers) {
    if (!name.startsWith("x-amz-")) continue;
    const isKnown = fields.some((each) => each === name || (each.endsWith("*") && name.startsWith(each.slice(0, -1))));
    if (!isKnown) throw lacks(`${name} for this request`);
    checkValue(name, value);
  }
  return found.name;
}

function checkValue(name: string, value: string): void {
  const [values, code] = VALUES[name] ?? [];
  if (values === undefined || code === undefined || values.test(value)) return;
  throw code === "NotImplemented" ? lacks(`${name}: ${value}`) : new S3Error(code);
}

const lacks = (what: string) => new S3Error("NotImplemented", `The store does not implement ${what}`);
