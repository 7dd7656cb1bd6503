/** The rules of `examples/object-store` that need no process: signatures, chunks, checksums, listings, XML. */
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { placeOf } from "../examples/object-store/app.ts";
import { ChunkedBody, checkTrailers } from "../examples/object-store/aws-chunked.ts";
import { isBucketName, readToken } from "../examples/object-store/buckets.ts";
import { ALGORITHMS, compositeChecksum, digestOf, fullChecksum, isCrc } from "../examples/object-store/checksums.ts";
import {
  checkConditions,
  copyRangeOf,
  deleteConditionOf,
  deletionsOf,
  putConditionOf,
  rangeOf,
} from "../examples/object-store/conditions.ts";
import { slice } from "../examples/object-store/files.ts";
import { behindPrefix, compareBytes, listPage } from "../examples/object-store/listing.ts";
import { operationOf } from "../examples/object-store/operations.ts";
import { secretsOf } from "../examples/object-store/settings.ts";
import { type CheckChunk, type Identity, verifySignature } from "../examples/object-store/signature.ts";
import { checkKey, numberIn } from "../examples/object-store/uri.ts";
import { readXml, toXml } from "../examples/object-store/xml.ts";
import { hold } from "./support/hold.js";

/** The keys, time and region of the examples in AWS's documentation of SigV4 for S3. */
const SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const NOW = Date.parse("2013-05-24T00:00:00Z");
const EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const CREDENTIAL = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";

interface Vector {
  method: string;
  path: string;
  query?: string;
  fields: Record<string, string>;
  signature?: string;
}

function verify({ method, path, query = "", fields, signature }: Vector, nowMs = NOW): Identity | undefined {
  const headers = new Headers({ host: "examplebucket.s3.amazonaws.com", ...fields });
  if (signature !== undefined) {
    headers.set("x-amz-date", "20130524T000000Z");
    const names = [...headers.keys()].filter((name) => name !== "unsigned").sort();
    const field = `AWS4-HMAC-SHA256 Credential=${CREDENTIAL},SignedHeaders=${names.join(";")},Signature=${signature}`;
    headers.set("authorization", field);
  }
  const secrets = new Map([["AKIAIOSFODNN7EXAMPLE", SECRET]]);
  return verifySignature({ method, path, query: new URLSearchParams(query), headers }, secrets, nowMs);
}

const GET: Vector = {
  method: "GET",
  path: "/test.txt",
  fields: { range: "bytes=0-9", "x-amz-content-sha256": EMPTY },
  signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
};
const VECTORS: [string, Vector][] = [
  ["a get with a range", GET],
  [
    "a put",
    {
      method: "PUT",
      path: "/test%24file.text",
      fields: {
        date: "Fri, 24 May 2013 00:00:00 GMT",
        "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
      },
      signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    },
  ],
  [
    "a parameter without a value",
    {
      method: "GET",
      path: "/",
      query: "lifecycle",
      fields: { "x-amz-content-sha256": EMPTY },
      signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    },
  ],
  [
    "a listing",
    {
      method: "GET",
      path: "/",
      query: "max-keys=2&prefix=J",
      fields: { "x-amz-content-sha256": EMPTY },
      signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    },
  ],
];
const PRESIGNED =
  `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${CREDENTIAL.replaceAll("/", "%2F")}&X-Amz-Date=20130524T000000Z` +
  "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
  "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
const presigned: Vector = { method: "GET", path: "/test.txt", query: PRESIGNED, fields: {} };

const codeIn = (error: unknown) => (error as { code?: string }).code ?? String(error);

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return codeIn(error);
  }
  return "none";
};

describe("signatures, with AWS's own examples", () => {
  test.each(VECTORS)("%s", (_, vector) => {
    expect(verify(vector)?.accessKey).toBe("AKIAIOSFODNN7EXAMPLE");
    expect(codeOf(() => verify({ ...vector, path: `${vector.path}x` }))).toBe("SignatureDoesNotMatch");
    expect(codeOf(() => verify({ ...vector, query: "other=1" }))).toBe("SignatureDoesNotMatch");
  });

  test("a presigned URL, until it expires", () => {
    expect(verify(presigned)?.payloadHash).toBe("UNSIGNED-PAYLOAD");
    expect(verify(presigned, NOW + 86_400_000)).toBeDefined();
    expect(codeOf(() => verify(presigned, NOW + 86_401_000))).toBe("AccessDenied");
    expect(codeOf(() => verify(presigned, NOW - 3_600_000))).toBe("AccessDenied");
    const longer = { ...presigned, query: PRESIGNED.replace("86400", "86401") };
    expect(codeOf(() => verify(longer))).toBe("SignatureDoesNotMatch");
    expect(codeOf(() => verify({ ...presigned, query: PRESIGNED.replace("86400", "999999") }))).toBe(
      "AuthorizationQueryParametersError",
    );
  });

  test.each<[string, Vector, number, string]>([
    ["none", { method: "GET", path: "/", fields: {} }, NOW, "none"],
    ["another clock", GET, NOW + 16 * 60_000, "RequestTimeTooSkewed"],
    [
      "a field that is not signed",
      { ...GET, fields: { ...GET.fields, "x-amz-meta-a": "b" } },
      NOW,
      "SignatureDoesNotMatch",
    ],
    ["version 2", { method: "GET", path: "/", fields: { authorization: "AWS a:b" } }, NOW, "InvalidRequest"],
    [
      "nonsense",
      { method: "GET", path: "/", fields: { authorization: "Basic x" } },
      NOW,
      "AuthorizationHeaderMalformed",
    ],
    ["both kinds", { ...GET, query: PRESIGNED }, NOW, "InvalidArgument"],
    ["a short one", { ...GET, signature: "f0e8" }, NOW, "AuthorizationHeaderMalformed"],
  ])("%s", (_, vector, now, code) => {
    expect(codeOf(() => verify(vector, now))).toBe(code);
  });

  test("each x-amz- field must be signed, and the access key must exist", () => {
    const send = (fields: Record<string, string>, credential = CREDENTIAL) => {
      const headers = new Headers({ host: "a", "x-amz-date": "20130524T000000Z", ...fields });
      const names = "host;x-amz-content-sha256;x-amz-date";
      headers.set(
        "authorization",
        `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names}, Signature=${EMPTY}`,
      );
      headers.set("x-amz-content-sha256", EMPTY);
      return codeOf(() =>
        verifySignature({ method: "GET", path: "/", query: new URLSearchParams(), headers }, new Map(), NOW),
      );
    };
    expect(send({ "x-amz-meta-a": "b" })).toBe("AccessDenied");
    expect(send({})).toBe("InvalidAccessKeyId");
    expect(send({}, "A/20130524/r/ec2/aws4_request")).toBe("AuthorizationHeaderMalformed");
    expect(send({}, "A/20130523/r/s3/aws4_request")).toBe("AuthorizationHeaderMalformed");
  });
});

const CHUNKED = {
  signed: {
    fields: { "content-length": "66824", "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" },
    seed: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    signatures: [
      "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
      "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
      "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ],
    trailer: "",
  },
  trailer: {
    fields: {
      "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
      "x-amz-trailer": "x-amz-checksum-crc32c",
    },
    seed: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    signatures: [
      "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
      "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
      "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ],
    trailer:
      "x-amz-checksum-crc32c:sOO8/Q==\r\n" +
      "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n",
  },
};
const SIZES = [65_536, 1024, 0];

function chunkedBody({ signatures, trailer }: { signatures: string[]; trailer: string }): Buffer {
  const chunks = SIZES.map((size, index) => {
    const data = size === 0 ? trailer : `${"a".repeat(size)}\r\n`;
    return `${size.toString(16)};chunk-signature=${signatures[index]}\r\n${data}`;
  });
  return Buffer.from(`${chunks.join("")}\r\n`);
}

async function decode(hash: string, check: CheckChunk, body: Buffer, pieceBytes: number) {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < body.length; at += pieceBytes) pieces.push(body.subarray(at, at + pieceBytes));
  const chunked = new ChunkedBody(Readable.from(pieces), hash, check);
  const data: Uint8Array[] = [];
  for await (const each of chunked.data()) data.push(each);
  return { data: Buffer.concat(data), trailers: Object.fromEntries(chunked.trailers) };
}

describe("chunked bodies, with AWS's own examples", () => {
  const bodyOf = (kind: keyof typeof CHUNKED) => {
    const { fields, seed } = CHUNKED[kind];
    const common = {
      host: "s3.amazonaws.com",
      "content-encoding": "aws-chunked",
      "x-amz-decoded-content-length": "66560",
      "x-amz-storage-class": "REDUCED_REDUNDANCY",
    };
    const path = "/examplebucket/chunkObject.txt";
    return () => verify({ method: "PUT", path, fields: { ...common, ...fields }, signature: seed }) as Identity;
  };

  test.each(["signed", "trailer"] as const)("%s, in pieces of any length", async (kind) => {
    const identityOf = bodyOf(kind);
    const body = chunkedBody(CHUNKED[kind]);
    for (const pieceBytes of [1, 2, 85, 86, 87, 4096, 65_622, body.length]) {
      const { checkChunk, payloadHash } = identityOf();
      const { data, trailers } = await decode(payloadHash, checkChunk, body, pieceBytes);
      expect(data.equals(Buffer.alloc(66_560, "a"))).toBe(true);
      expect(trailers).toEqual(kind === "trailer" ? { "x-amz-checksum-crc32c": "sOO8/Q==" } : {});
    }
    expect(digestOf("CRC32C").digest().length).toBe(4);
  });

  test("the checksum of that trailer is right", () => {
    const digest = digestOf("CRC32C");
    digest.update(Buffer.alloc(66_560, "a"));
    expect(digest.digest().toString("base64")).toBe("sOO8/Q==");
  });

  test.each([
    [
      "a changed byte",
      (text: string) => text.replace("aab\r\n", "").replace("aa\r\n", "ab\r\n"),
      "SignatureDoesNotMatch",
    ],
    [
      "a chunk without a signature",
      (text: string) => text.replace(/;chunk-signature=[^\r]*/, ""),
      "SignatureDoesNotMatch",
    ],
    ["a missing end", (text: string) => text.slice(0, -100), "IncompleteBody"],
    ["data behind the end", (text: string) => `${text}1\r\n`, "IncompleteBody"],
    ["a longer chunk", (text: string) => text.replace("aa\r\n", "aaa\r\n"), "IncompleteBody"],
    ["no size", (text: string) => `zz${text}`, "IncompleteBody"],
    ["an endless line", () => "1".repeat(10_000), "IncompleteBody"],
  ])("%s is refused", async (_, change, code) => {
    const { checkChunk, payloadHash } = bodyOf("signed")();
    const body = Buffer.from(change(chunkedBody(CHUNKED.signed).toString()));
    expect(await decode(payloadHash, checkChunk, body, 1000).catch(codeIn)).toBe(code);
  });

  test("unsigned chunks with a trailer", async () => {
    const body = Buffer.from("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n");
    const { data, trailers } = await decode("STREAMING-UNSIGNED-PAYLOAD-TRAILER", () => undefined, body, 3);
    expect(data.toString()).toBe("hello");
    expect(trailers).toEqual({ "x-amz-checksum-crc32": "NhCmhg==" });
  });
});

test.each<[string | null, string[], string]>([
  [null, [], "none"],
  ["x-amz-checksum-crc32", ["x-amz-checksum-crc32"], "none"],
  ["x-amz-checksum-crc32", [], "MalformedTrailerError"],
  ["x-amz-checksum-crc32", ["x-amz-checksum-sha1"], "MalformedTrailerError"],
  ["x-amz-checksum-crc32", ["x-amz-checksum-crc32", "x-amz-checksum-sha1"], "MalformedTrailerError"],
  [null, ["x-amz-checksum-crc32"], "MalformedTrailerError"],
])("x-amz-trailer: %s with the trailing fields %j", (stated, names, code) => {
  expect(codeOf(() => checkTrailers(stated, new Map(names.map((name) => [name, "x"]))))).toBe(code);
});

describe("checksums", () => {
  const checksum = (algorithm: (typeof ALGORITHMS)[number], bytes: Uint8Array) => {
    const digest = digestOf(algorithm);
    for (let at = 0; at < bytes.length; at += 13) digest.update(bytes.subarray(at, at + 13));
    return digest.digest().toString("base64");
  };

  test.each([
    ["CRC32", "cbf43926"],
    ["CRC32C", "e3069283"],
    ["CRC64NVME", "ae8b14860a799888"],
  ] as const)("the check value of %s", (algorithm, value) => {
    const digest = digestOf(algorithm);
    digest.update(Buffer.from("123456789"));
    expect(digest.digest().toString("hex")).toBe(value);
  });

  test("those of parts become that of the whole", () => {
    const bytes = randomBytes(5000);
    const parts = [bytes.subarray(0, 2000), bytes.subarray(2000, 4000), bytes.subarray(4000), Buffer.alloc(0)];
    for (const algorithm of ALGORITHMS) {
      const each = parts.map((part) => ({ checksum: checksum(algorithm, part), size: part.length }));
      if (isCrc(algorithm)) expect(fullChecksum(algorithm, each)).toBe(checksum(algorithm, bytes));
      const joined = Buffer.concat(each.map((part) => Buffer.from(part.checksum, "base64")));
      expect(compositeChecksum(algorithm, each)).toBe(`${checksum(algorithm, joined)}-4`);
    }
  });
});

describe("listings", () => {
  const text = fc.string({
    unit: fc.constantFrom("a", "b", "/", "é", "\u{ffff}", "\u{1f600}", "\u{10ffff}"),
    maxLength: 6,
  });

  /** What S3 does, in the simplest way: all keys and common prefixes as one sorted list. */
  function model(keys: string[], prefix: string, delimiter: string, after: string | undefined, most: number) {
    const entries = new Set(
      keys
        .filter((key) => key.startsWith(prefix))
        .map((key) => {
          const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
          return at < 0 ? `key ${key}` : `prefix ${key.slice(0, at + delimiter.length)}`;
        }),
    );
    const nameOf = (entry: string) => entry.slice(entry.indexOf(" ") + 1);
    const behind = [...entries]
      .filter((entry) => after === undefined || compareBytes(nameOf(entry), after) > 0)
      .sort((a, b) => compareBytes(nameOf(a), nameOf(b)));
    const page = behind.slice(0, most);
    return { page, next: behind.length > most ? nameOf(page.at(-1) as string) : undefined };
  }

  test("every page is what a plain list has", async () => {
    const property = fc.asyncProperty(
      fc.uniqueArray(text, { maxLength: 30 }),
      fc.oneof(fc.constant(""), text),
      fc.constantFrom("", "/", "a", "é/"),
      fc.option(text, { nil: undefined }),
      fc.integer({ min: 1, max: 5 }),
      async (all, prefix, delimiter, first, most) => {
        const keys = all.filter((key) => key !== "").sort(compareBytes);
        let after = first === "" ? undefined : first;
        for (let pages = 0; pages < 40; pages++) {
          const found = await listPage({ prefix, delimiter, after, most }, async (from, to, limit) => {
            const isIn = (key: string) => compareBytes(key, from) >= 0 && (!to || compareBytes(key, to) < 0);
            const behind = keys.filter(isIn).slice(0, limit);
            return behind.map((key) => ({ key }));
          });
          const { page, next } = model(keys, prefix, delimiter, after, most);
          const got = [
            ...found.objects.map(({ key }) => `key ${key}`),
            ...found.commonPrefixes.map((each) => `prefix ${each}`),
          ];
          hold(
            got.sort().join() === [...page].sort().join() && found.next === next,
            JSON.stringify({ got, page, next }),
          );
          if (next === undefined) return;
          after = next;
        }
        throw new Error("the pages have no end");
      },
    );
    await fc.assert(property, { numRuns: 2000 });
  });

  test.each([
    ["a", "b"],
    ["a/", "a0"],
    ["\ud7ff", "\ue000"],
    ["a\u{10ffff}", "b"],
    ["\u{10ffff}", undefined],
    ["", undefined],
  ])("behind all keys that begin with %j comes %j", (prefix, behind) => {
    expect(behindPrefix(prefix)).toBe(behind);
  });
});

describe("operations", () => {
  const operation = (method: string, path: string, fields: Record<string, string> = {}) => {
    const [place = "", text = ""] = path.split("?");
    const request = new Request("http://a", { method, headers: fields });
    return operationOf({ request, ...placeOf("a", place, []), query: new URLSearchParams(text) });
  };

  test.each<[string, string, Record<string, string>, string]>([
    ["GET", "/", {}, "listBuckets"],
    ["GET", "/b?list-type=2&prefix=a", {}, "listObjects"],
    ["GET", "/b?uploads", {}, "listUploads"],
    ["POST", "/b?delete", {}, "deleteObjects"],
    ["HEAD", "/b/k?versionId=null&x-id=GetObject&x-mine=1", {}, "getObject"],
    ["GET", "/b/k?v=3&utm_source=a&prefix=b", {}, "getObject"],
    ["GET", "/b?list-type=2&v=3", {}, "listObjects"],
    ["GET", "/?max-buckets=10", {}, "listBuckets"],
    ["PUT", "/b/k", { "x-amz-meta-a": "1", "x-amz-acl": "private", "x-amz-storage-class": "STANDARD" }, "putObject"],
    ["PUT", "/b/k?x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32", {}, "putObject"],
    ["PUT", "/b/k", { "x-amz-checksum-crc32": "NhCmhg==" }, "putObject"],
    ["PUT", "/b/k", { "x-amz-copy-source": "b/l", "x-amz-copy-source-if-match": "e" }, "copyObject"],
    ["PUT", "/b/k?uploadId=1&partNumber=1", { "x-amz-copy-source": "b/l" }, "copyPart"],
    ["PUT", "/b/k?uploadId=1&partNumber=1", {}, "uploadPart"],
    ["POST", "/b/k?uploads", { "x-amz-checksum-algorithm": "CRC32" }, "createUpload"],
    ["DELETE", "/b/k?uploadId=1", {}, "abortUpload"],
    ["DELETE", "/b/k?versionId=null", { "x-amz-if-match-size": "1" }, "deleteObject"],
  ])("%s %s %j is %s", (method, path, fields, name) => {
    expect(operation(method, path, fields)).toBe(name);
  });

  test.each<[string, string, Record<string, string>, string]>([
    ["DELETE", "/b/k?versionId=abc", {}, "NoSuchVersion"],
    ["GET", "/b/k?versionId=abc", {}, "NoSuchVersion"],
    ["GET", "/b/k?acl", {}, "NotImplemented"],
    ["HEAD", "/b/k?uploadId=1", {}, "NotImplemented"],
    ["GET", "/b/k?partNumber=1", {}, "NotImplemented"],
    ["GET", "/b?session", {}, "NotImplemented"],
    ["GET", "/?prefix=a", {}, "NotImplemented"],
    ["GET", "/b/k?v=3&torrent", {}, "NotImplemented"],
    ["DELETE", "/b/k?uploads", {}, "NotImplemented"],
    ["PUT", "/b?delete", {}, "NotImplemented"],
    ["PUT", "/b/k?X-Amz-Security-Token=a", {}, "NotImplemented"],
    ["PUT", "/b/k", { "x-amz-copy-source": "b/l", "x-amz-copy-source-range": "bytes=0-1" }, "NotImplemented"],
    ["GET", "/b?uploads&delimiter=/", {}, "NotImplemented"],
    ["GET", "/b?list-type=3", {}, "InvalidArgument"],
    ["POST", "/b", {}, "NotImplemented"],
    ["PUT", "/b/k?renameObject", {}, "NotImplemented"],
    ["PUT", "/b/k?append&position=0", {}, "NotImplemented"],
    ["PUT", "/b/k", { "x-amz-write-offset-bytes": "1" }, "NotImplemented"],
    ["PUT", "/b/k", { "x-amz-storage-class": "GLACIER" }, "NotImplemented"],
    ["PUT", "/b/k", { "x-amz-expected-bucket-owner": "1" }, "NotImplemented"],
    ["PUT", "/b/k", { "x-amz-server-side-encryption": "AES256" }, "NotImplemented"],
    ["PUT", "/b/k", { "x-amz-checksum-foo": "1" }, "NotImplemented"],
    ["PUT", "/b/k", { "x-amz-acl": "public-read" }, "AccessControlListNotSupported"],
    ["PUT", "/b", { "x-amz-acl": "public-read" }, "AccessControlListNotSupported"],
    ["PUT", "/b/k?x-amz-checksum-crc32=NhCmhg%3D%3D", {}, "NotImplemented"],
    ["PUT", "/b/k?x-amz-meta-a=1", {}, "NotImplemented"],
    ["PATCH", "/b/k", {}, "MethodNotAllowed"],
  ])("%s %s %j is refused: %s", (method, path, fields, code) => {
    expect(codeOf(() => operation(method, path, fields))).toBe(code);
  });

  test.each<[string, unknown]>([
    ["<Key>a</Key>", { key: "a" }],
    ["<Key>a</Key><VersionId>null</VersionId>", { key: "a" }],
    ["<Key>a</Key><VersionId>b</VersionId>", { key: "a", failure: expect.objectContaining({ code: "NoSuchVersion" }) }],
    ['<Key>a</Key><ETag>"e"</ETag><Size>5</Size>', { key: "a", condition: { etag: "e", size: 5 } }],
    [
      "<Key>a</Key><LastModifiedTime>1970-01-01T00:00:01.9Z</LastModifiedTime>",
      { key: "a", condition: { modified: 1000 } },
    ],
  ])("%s in DeleteObjects", (text, deletion) => {
    expect(deletionsOf(readXml(`<Delete><Object>${text}</Object></Delete>`, "Delete"))).toEqual([deletion]);
  });

  test.each(["", "<Key/>", "<Key>a</Key><Key>b</Key>", "<Key>a</Key><Other/>"])(
    "%j in DeleteObjects is refused",
    (text) => {
      expect(codeOf(() => deletionsOf(readXml(`<Delete><Object>${text}</Object></Delete>`, "Delete")))).toBe(
        "MalformedXML",
      );
    },
  );

  test("the conditions of a delete", () => {
    expect([deleteConditionOf(null, null, null), deleteConditionOf("*", null, null)]).toEqual([undefined, undefined]);
    const stated = { etag: "e", size: 3, modified: 1000 };
    expect(deleteConditionOf('"e"', "3", "Thu, 01 Jan 1970 00:00:01 GMT")).toEqual(stated);
    expect(codeOf(() => deleteConditionOf(null, "x", null))).toBe("InvalidArgument");
    expect(codeOf(() => deleteConditionOf(null, null, "x"))).toBe("InvalidArgument");
  });
});

describe("requests", () => {
  test.each([
    ["bytes=0-9", 100, [0, 10]],
    ["bytes=90-", 100, [90, 100]],
    ["bytes=-10", 100, [90, 100]],
    ["bytes=-200", 100, [0, 100]],
    ["bytes=95-200", 100, [95, 100]],
    ["bytes=9-0", 100, undefined],
    ["bytes=0-1,3-4", 100, undefined],
    ["lines=0-1", 100, undefined],
    ["bytes=-", 100, undefined],
    [null, 100, undefined],
  ])("the range %s of %d bytes", (text, size, range) => {
    const found = rangeOf(text, size);
    expect(found && [found.start, found.end]).toEqual(range);
  });

  test.each(["bytes=100-", "bytes=-0", "bytes=200-300"])("the range %s is not satisfiable", (text) => {
    expect(codeOf(() => rangeOf(text, 100))).toBe("InvalidRange");
  });

  test.each<[string | null, number[] | string]>([
    [null, [0, 100]],
    ["bytes=0-0", [0, 1]],
    ["bytes=5-99", [5, 100]],
    ["bytes=5-100", "InvalidArgument"],
    ["bytes=-5", "InvalidArgument"],
    ["bytes=5-", "InvalidArgument"],
    ["bytes=5-2", "InvalidArgument"],
    ["0-5", "InvalidArgument"],
  ])("the range %s of a copied part", (text, expected) => {
    if (typeof expected === "string") expect(codeOf(() => copyRangeOf(text, 100))).toBe(expected);
    else expect(Object.values(copyRangeOf(text, 100))).toEqual(expected);
  });

  test.each(["zzz", "", "a' OR 1=1", "YQ==", "YQBi"])("the token %j is refused", (token) => {
    expect(codeOf(() => readToken(token))).toBe("InvalidArgument");
    expect(readToken(Buffer.from("é/\u{1f600}").toString("base64url"))).toBe("é/\u{1f600}");
  });

  test.each(["\0", "a\u0001", "\ufffe", "\uffff"])("the key %j is refused", (key) => {
    expect(codeOf(() => checkKey(key))).toBe("InvalidArgument");
    expect(codeOf(() => checkKey("a\t\r\n\u{1f600}"))).toBe("none");
  });

  const modified = Date.parse("2026-01-31T12:00:00.500Z");
  const at = "Sat, 31 Jan 2026 12:00:00 GMT";
  const before = "Sat, 31 Jan 2026 11:59:59 GMT";
  test.each<[Record<string, string>, string]>([
    [{}, "none"],
    [{ "if-match": '"e"' }, "none"],
    [{ "if-match": '"x", "e"' }, "none"],
    [{ "if-match": "*" }, "none"],
    [{ "if-match": '"x"' }, "PreconditionFailed"],
    [{ "if-none-match": '"e"' }, "NotModified"],
    [{ "if-none-match": 'W/"e"' }, "NotModified"],
    [{ "if-none-match": '"x"' }, "none"],
    [{ "if-modified-since": at }, "NotModified"],
    [{ "if-modified-since": before }, "none"],
    [{ "if-unmodified-since": at }, "none"],
    [{ "if-unmodified-since": before }, "PreconditionFailed"],
    [{ "if-match": '"e"', "if-unmodified-since": before }, "none"],
    [{ "if-none-match": '"x"', "if-modified-since": at }, "none"],
  ])("the conditions %j", (fields, code) => {
    const object = { key: "a", size: 1, etag: "e", modified };
    expect(codeOf(() => checkConditions(new Headers(fields), object))).toBe(code);
  });

  test("the conditions of a put", () => {
    const of = (fields: Record<string, string>) => putConditionOf(new Headers(fields));
    expect(of({})).toBeUndefined();
    expect(of({ "if-none-match": "*" })).toBe("absent");
    expect(of({ "if-match": '"e"' })).toEqual({ etag: "e" });
    expect(of({ "if-match": "*" })).toEqual({ etag: "*" });
    expect(codeOf(() => of({ "if-none-match": '"e"' }))).toBe("NotImplemented");
  });

  test.each([
    ["127.0.0.1:8080", "/bucket/a/b%2Fc%20d", "bucket", "a/b/c d"],
    ["127.0.0.1", "/bucket", "bucket", ""],
    ["127.0.0.1", "/bucket/", "bucket", ""],
    ["127.0.0.1", "/", "", ""],
    ["photos.localhost:8080", "/a%252Fb", "photos", "a%2Fb"],
    ["my.photos.localhost", "/%C3%A9+", "my.photos", "é+"],
    ["localhost", "/bucket//x", "bucket", "/x"],
  ])("%s%s is %j %j", (host, path, bucket, key) => {
    expect(placeOf(host, path, ["localhost"])).toEqual({ bucket, key });
  });

  test.each(["/bucket/%FF", "/bucket/a%00b"])("%s, which is no key, is refused", (path) => {
    expect(codeOf(() => placeOf("a", path, []))).toBe("InvalidURI");
  });

  test.each([
    ["", 7],
    ["n=", 7],
    ["n=3", 3],
    ["n=30", 10],
    ["n=0", "InvalidArgument"],
    ["n=-1", "InvalidArgument"],
    ["n=x", "InvalidArgument"],
  ])("the number in %j", (query, expected) => {
    const read = () => numberIn(new URLSearchParams(query), "n", 7, 1, 10);
    expect(typeof expected === "number" ? read() : codeOf(read)).toBe(expected);
  });

  test("the segments of a range", () => {
    const segments = [
      { file: "a", start: 0, size: 10 },
      { file: "b", start: 5, size: 10 },
    ];
    expect(slice(segments, 0, 20)).toEqual(segments);
    expect(slice(segments, 8, 12)).toEqual([
      { file: "a", start: 8, size: 2, isSlice: true },
      { file: "b", start: 5, size: 2, isSlice: true },
    ]);
    expect(slice(segments, 10, 20)).toEqual([segments[1]]);
  });
});

test.each(["", "null", '["x"]', '{"AK":5}', '{"AK":""}', "{}", '"AK"'])("the keys %j are refused", (text) => {
  expect(() => secretsOf(text, "keys.json")).toThrow(/^keys.json must have the form/);
});

test.each([
  ["abc a.b-c 1bucket 1.2.3.4a", true],
  ["ab Abc a..b -ab ab- a_b 1.2.3.4", false],
  // S3 reserves these names.
  ["xn--abc sthree-a amzn-s3-demo-a a-s3alias a--ol-s3 a.mrap a--x-s3 a--table-s3", false],
])("the names of buckets: %s", (names, isGood) => {
  for (const name of names.split(" ")) expect([name, isBucketName(name)]).toEqual([name, isGood]);
});

test("the keys of the store", () => {
  expect(secretsOf('{"A":"b"}', "keys.json")).toEqual(new Map([["A", "b"]]));
});

describe("XML", () => {
  test("is read as clients write it", () => {
    const text =
      '<?xml version="1.0"?>\n<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><!-- x -->\n <Object><Key>a&amp;b&#x20;&#233;</Key></Object><Quiet/></Delete>';
    const { children } = readXml(text, "Delete");
    expect(children.map(({ name, children }) => [name, children[0]?.text])).toEqual([
      ["Object", "a&b é"],
      ["Quiet", undefined],
    ]);
  });

  test.each([
    ["", "empty"],
    ["<Delete>", "not closed"],
    ["<Delete></Object>", "closed by another"],
    ["<Other/>", "another root"],
    ["<Delete/><Delete/>", "two roots"],
    ["<!DOCTYPE x [<!ENTITY a 'b'>]><Delete>&a;</Delete>", "a document type"],
    ["<Delete>&unknown;</Delete>", "an unknown entity"],
    ["<Delete>&constructor;</Delete>", "the name of a property"],
    ["<Delete>\0</Delete>", "a NUL"],
    [`${"<Delete>".repeat(20)}${"</Delete>".repeat(20)}`, "too deep"],
  ])("%s is refused: %s", (text) => {
    expect(codeOf(() => readXml(text, "Delete"))).toBe("MalformedXML");
  });

  test("any bytes end at once, as a document or as an error", () => {
    const property = fc.property(fc.string({ unit: fc.constantFrom(..."<>/&;ab !-?[]"), maxLength: 60 }), (text) => {
      const code = codeOf(() => readXml(text, "a"));
      hold(code === "none" || code === "MalformedXML", code);
    });
    fc.assert(property, { numRuns: 2000 });
  });

  test("is written with all that must be escaped", () => {
    const text = toXml("Root", { Key: 'a<b>&"\u0001', List: ["1", "2"], None: undefined, In: { Deep: true } });
    expect(text.slice(text.indexOf("<Root"))).toBe(
      '<Root xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Key>a&lt;b&gt;&amp;&quot;&#x1;</Key><List>1</List><List>2</List><In><Deep>true</Deep></In></Root>',
    );
  });
});
