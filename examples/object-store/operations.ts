/** Which operation a request asks for, and what it may ask of it: every other parameter or field gets an error. Pure. */
import { type ErrorCode, S3Error } from "./errors.ts";

interface Operation {
  name: string;
  methods: string;
  /** The parameter, or the field `x-amz-copy-source`, by which it is told from others of the same method. */
  by?: string;
  parameters?: string;
  /** Without `x-amz-`; a name that ends in `*` stands for all that begin with it. */
  fields?: string;
}

const CHECKSUMS = "checksum-crc32 checksum-crc32c checksum-crc64nvme checksum-sha1 checksum-sha256";
const BODY = `decoded-content-length trailer ${CHECKSUMS}`;
const OBJECT = "acl storage-class meta-*";
const SOURCE = "copy-source copy-source-if-*";
const OVERRIDES = "cache-control content-disposition content-encoding content-language content-type expires"
  .split(" ")
  .map((name) => `response-${name}`);
const PART = "uploadId partNumber";

/** The first that fits is meant. */
const OF_SERVICE: Operation[] = [{ name: "listBuckets", methods: "GET" }];
const OF_BUCKET: Operation[] = [
  {
    ...{ name: "listUploads", methods: "GET", by: "uploads" },
    parameters: "prefix max-uploads key-marker upload-id-marker encoding-type",
  },
  {
    ...{ name: "listObjects", methods: "GET" },
    parameters: "list-type prefix delimiter marker start-after continuation-token max-keys encoding-type fetch-owner",
  },
  { name: "headBucket", methods: "HEAD" },
  { name: "createBucket", methods: "PUT", fields: `acl ${BODY}` },
  { name: "deleteBucket", methods: "DELETE" },
  { name: "deleteObjects", methods: "POST", by: "delete", fields: BODY },
];
const OF_OBJECT: Operation[] = [
  { name: "listParts", methods: "GET", by: "uploadId", parameters: "max-parts part-number-marker encoding-type" },
  {
    ...{ name: "getObject", methods: "GET HEAD", fields: "checksum-mode" },
    parameters: ["versionId", "x-amz-checksum-mode", ...OVERRIDES].join(" "),
  },
  {
    name: "copyPart",
    methods: "PUT",
    by: "x-amz-copy-source",
    parameters: PART,
    fields: `${SOURCE} copy-source-range`,
  },
  { name: "uploadPart", methods: "PUT", by: "uploadId", parameters: PART, fields: BODY },
  {
    ...{ name: "copyObject", methods: "PUT", by: "x-amz-copy-source" },
    fields: `${SOURCE} ${OBJECT} metadata-directive tagging-directive`,
  },
  { name: "putObject", methods: "PUT", parameters: "x-amz-checksum-crc32", fields: `${OBJECT} ${BODY}` },
  {
    ...{ name: "createUpload", methods: "POST", by: "uploads" },
    fields: `${OBJECT} checksum-algorithm checksum-type`,
  },
  {
    ...{ name: "completeUpload", methods: "POST", by: "uploadId" },
    fields: `${BODY} checksum-type mp-object-size`,
  },
  { name: "abortUpload", methods: "DELETE", by: "uploadId" },
  {
    ...{ name: "deleteObject", methods: "DELETE", parameters: "versionId" },
    fields: "if-match-size if-match-last-modified-time",
  },
];

/** What every request may have: its signature, and what clients add without a meaning for a store of one owner. */
const FIELDS = "date content-sha256 user-agent sdk-checksum-algorithm request-payer";
const SIGNATURE = "Algorithm Credential Date Expires SignedHeaders Signature Content-Sha256 User-Agent";
const PARAMETERS = ["x-amz-sdk-checksum-algorithm", ...SIGNATURE.split(" ").map((name) => `X-Amz-${name}`)];

/** The values of fields and, behind `?`, of parameters that the store supports, and the error for another. */
const VALUES: Record<string, [values: RegExp, code: ErrorCode]> = {
  "?versionId": [/^null$/, "NoSuchVersion"],
  // AWS's SDK for JavaScript puts the checksum of no body into a presigned URL: it says nothing of the body to come.
  "?x-amz-checksum-crc32": [/^AAAAAA==$/, "NotImplemented"],
  "?list-type": [/^2$/, "InvalidArgument"],
  "x-amz-acl": [/^(?:private|bucket-owner-full-control)$/, "AccessControlListNotSupported"],
  "x-amz-storage-class": [/^STANDARD$/, "NotImplemented"],
  "x-amz-metadata-directive": [/^(?:COPY|REPLACE)$/, "InvalidArgument"],
};

/** @throws S3Error if there is no such operation, or the store lacks what is asked of it */
export function operationOf(
  { method, bucket, key }: { method: string; bucket: string; key: string },
  parameters: string[],
  valueIn: (parameter: string) => string | undefined,
  headers: Headers,
): string {
  const has = (name: string) => parameters.includes(name) || headers.has(name);
  const table = bucket === "" ? OF_SERVICE : key === "" ? OF_BUCKET : OF_OBJECT;
  const ofMethod = table.filter(({ methods }) => methods.split(" ").includes(method));
  const isPart = (name: string) => name !== "copyPart" || has("uploadId");
  const found = ofMethod.find(({ name, by }) => (by === undefined || has(by)) && isPart(name));
  if (found === undefined && table === OF_BUCKET && method === "POST") {
    throw new S3Error("NotImplemented", "Uploads from HTML forms are not implemented");
  }
  if (found === undefined) throw new S3Error("MethodNotAllowed");
  const known = new Set([...PARAMETERS, found.by, ...(found.parameters ?? "").split(" ")]);
  for (const name of parameters) {
    // S3 leaves parameters with `x-` to its users, for their logs.
    if (known.has(name) || /^x-(?!amz-)/.test(name)) checkValue(`?${name}`, valueIn(name));
    else throw new S3Error("NotImplemented", `The store does not implement the parameter ${name} of this request`);
  }
  const fields = `${FIELDS} ${found.fields ?? ""}`.split(" ").map((name) => `x-amz-${name}`);
  for (const [name, value] of headers) {
    if (!name.startsWith("x-amz-")) continue;
    const isKnown = fields.some((each) => each === name || (each.endsWith("*") && name.startsWith(each.slice(0, -1))));
    if (!isKnown) throw new S3Error("NotImplemented", `The store does not implement ${name} for this request`);
    checkValue(name, value);
  }
  return found.name;
}

function checkValue(name: string, value = ""): void {
  const [values, code] = VALUES[name] ?? [];
  if (values === undefined || code === undefined || values.test(value)) return;
  throw new S3Error(code, code === "NotImplemented" ? `The store does not implement ${name}: ${value}` : undefined);
}
