/**
 * The parts of the tests of `examples/object-store` that use a store: starting it, and the checks that hold for each runtime and database.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { S3, type S3Response, valuesOf } from "../../bench/soak/object-store/client.mjs";
import { startExample } from "./example.js";
import type { Project, RuntimeName } from "./fleet.js";
import { waitFor } from "./wait.js";

export const MB = 2 ** 20;
const md5 = (bytes: Buffer | string) => createHash("md5").update(bytes).digest("hex");

export interface Started {
  project: Project;
  folder: string;
  s3: S3;
  keys: { accessKey: string; secret: string };
}

export async function startStore(runtime: RuntimeName, env: NodeJS.ProcessEnv): Promise<Started> {
  const folder = mkdtempSync(join(tmpdir(), "pl-store-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  // As an earlier version left the files.
  for (const end of ["", "-wal", "-shm"]) writeFileSync(join(folder, `store.sqlite${end}`), "", { mode: 0o644 });
  const ages = { STORE_SWEEP_EVERY_MS: "300", STORE_ORPHAN_AGE_MS: "60000", STORE_DROPPED_AGE_MS: "1" };
  const project = await startExample("object-store", runtime, { STORE_FOLDER: folder, ...ages, ...env });
  const [[accessKey, secret] = ["", ""]] = Object.entries(
    JSON.parse(readFileSync(join(folder, "keys.json"), "utf8")) as Record<string, string>,
  );
  const s3 = new S3({ port: project.port, accessKey, secret });
  onTestFinished(() => s3.close());
  return { project, folder, s3, keys: { accessKey, secret } };
}

export const codeOf = ({ status, text }: S3Response) => `${status} ${valuesOf(text, "Code")[0] ?? ""}`.trim();

/** Every file of an object in the store's folder. */
const filesIn = (folder: string) =>
  readdirSync(join(folder, "objects"), { recursive: true, encoding: "utf8" }).filter((name) => name.includes("/"));

/** The checks that hold for every database and runtime. */
export async function worksThrough({ s3, folder }: Started): Promise<void> {
  const send = s3.request.bind(s3);
  expect((await send("PUT", "/photos")).status).toBe(200);
  expect(codeOf(await send("PUT", "/photos"))).toBe("409 BucketAlreadyOwnedByYou");
  expect(valuesOf((await send("GET", "/")).text, "Name")).toEqual(["photos"]);

  // Keys are bytes as sent.
  const keys: [path: string, key: string][] = [
    ["a%2Fb", "a/b"],
    ["a%252Fb", "a%2Fb"],
    ["sp%20ace+%2B", "sp ace++"],
    ["%C3%A9/%F0%9F%98%80", "é/😀"],
    ["x//y/", "x//y/"],
    // The longest key.
    ["%C3%A9".repeat(512), "é".repeat(512)],
    // In the order of their bytes, which is not the order of JavaScript strings.
    ["%F0%9F%98%80", "😀"],
    ["%EF%BF%BD", "\u{fffd}"],
    ["...", "..."],
  ];
  for (const [path, key] of keys) {
    const put = await send("PUT", `/photos/${path}`, { body: key, headers: { "x-amz-meta-name": "value" } });
    expect([path, put.status, put.headers.etag]).toEqual([path, 200, `"${md5(key)}"`]);
    const got = await send("GET", `/photos/${path}`);
    expect([path, got.text, got.headers["x-amz-meta-name"]]).toEqual([path, key, "value"]);
  }
  const listed = await send("GET", "/photos", { query: { "list-type": 2 } });
  expect(valuesOf(listed.text, "Key")).toEqual(
    keys.map(([, key]) => key).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
  );

  await listingsAgree(
    s3,
    keys.map(([, key]) => key),
  );
  // The balancer removes dot segments from the path, so the path differs from the signed one.
  for (const path of ["a/../b", "a/%2e%2E/b", "./b"]) {
    expect([path, codeOf(await send("PUT", `/photos/${path}`, { body: "" }))]).toEqual([
      path,
      "403 SignatureDoesNotMatch",
    ]);
  }
  // Parameters without a meaning are ignored; parameters for missing features are not.
  expect((await send("GET", "/photos/a%2Fb", { query: { v: "3" } })).text).toBe("a/b");
  expect(codeOf(await send("GET", "/photos/a%2Fb", { query: { torrent: "" } }))).toBe("501 NotImplemented");
  expect(codeOf(await send("GET", "/photos", { query: { prefix: "a\0" } }))).toBe("400 InvalidURI");

  // Ranges, conditions and fields of an object of some size.
  const body = randomBytes(3 * MB);
  const type = {
    "content-type": "image/x",
    "cache-control": "max-age=9",
    "content-md5": createHash("md5").update(body).digest("base64"),
  };
  expect((await send("PUT", "/photos/large", { body, headers: type })).status).toBe(200);
  const whole = await send("GET", "/photos/large");
  expect(whole.bytes.equals(body)).toBe(true);
  expect(whole.headers).toMatchObject({
    "content-type": "image/x",
    "cache-control": "max-age=9",
    etag: `"${md5(body)}"`,
  });
  const part = await send("GET", "/photos/large", { headers: { range: "bytes=-10" } });
  expect([part.status, part.bytes.equals(body.subarray(-10))]).toEqual([206, true]);
  expect(part.headers["content-range"]).toBe(`bytes ${body.length - 10}-${body.length - 1}/${body.length}`);
  expect(
    (await send("GET", "/photos/large", { headers: { "if-none-match": whole.headers.etag as string } })).status,
  ).toBe(304);
  expect(codeOf(await send("GET", "/photos/large", { headers: { range: `bytes=${body.length}-` } }))).toBe(
    "416 InvalidRange",
  );
  const head = await send("HEAD", "/photos/large");
  expect([head.status, head.headers["content-length"]]).toEqual([200, `${body.length}`]);
  const query = { "response-content-type": "text/plain" };
  expect((await send("GET", "/photos/large", { query })).headers["content-type"]).toBe("text/plain");

  // What the client states about a body must be true.
  const wrong = createHash("md5").update("x").digest("base64");
  expect(codeOf(await send("PUT", "/photos/bad", { body: "y", headers: { "content-md5": wrong } }))).toBe(
    "400 BadDigest",
  );
  expect(
    codeOf(
      await send("PUT", "/photos/bad", { body: "y", payloadHash: createHash("sha256").update("x").digest("hex") }),
    ),
  ).toBe("400 XAmzContentSHA256Mismatch");
  expect(codeOf(await send("PUT", "/photos/bad", { body: "y", headers: { "x-amz-checksum-crc32": "AAAAAA==" } }))).toBe(
    "400 BadDigest",
  );
  expect(codeOf(await send("GET", "/photos/bad"))).toBe("404 NoSuchKey");
  const crc = { "x-amz-checksum-crc32": "NhCmhg==" };
  expect((await send("PUT", "/photos/crc", { body: "hello", headers: crc })).headers).toMatchObject(crc);
  expect((await send("HEAD", "/photos/crc", { headers: { "x-amz-checksum-mode": "ENABLED" } })).headers).toMatchObject(
    crc,
  );

  // Conditional puts: of many at once, one creates the object.
  const creates = await Promise.all(
    Array.from({ length: 8 }, (_, n) =>
      send("PUT", "/photos/once", { body: `${n}`, headers: { "if-none-match": "*" } }),
    ),
  );
  expect(creates.map(({ status }) => status).sort()).toEqual([200, ...Array(7).fill(412)]);
  // And of many that replace the same state, one succeeds.
  const state = creates.find(({ status }) => status === 200)?.headers.etag ?? "";
  const replaces = await Promise.all(
    Array.from({ length: 8 }, (_, n) => send("PUT", "/photos/once", { body: `a${n}`, headers: { "if-match": state } })),
  );
  expect(replaces.map(({ status }) => status).sort()).toEqual([200, ...Array(7).fill(412)]);

  // Copies, deletes and their errors.
  const copied = await send("PUT", "/photos/copy", { headers: { "x-amz-copy-source": "/photos/sp%20ace%2B%2B" } });
  expect(valuesOf(copied.text, "ETag")).toEqual([`&quot;${md5("sp ace++")}&quot;`]);
  const replaced = { "x-amz-copy-source": "photos/copy", "x-amz-metadata-directive": "REPLACE", "x-amz-meta-new": "1" };
  expect((await send("PUT", "/photos/copy", { headers: replaced })).status).toBe(200);
  const { text, headers } = await send("GET", "/photos/copy");
  expect([text, headers["x-amz-meta-new"], headers["x-amz-meta-name"]]).toEqual(["sp ace++", "1", undefined]);
  expect((await send("DELETE", "/photos/copy")).status).toBe(204);
  expect(codeOf(await send("DELETE", "/photos"))).toBe("409 BucketNotEmpty");
  expect(codeOf(await send("GET", "/other/key"))).toBe("404 NoSuchBucket");
  expect(codeOf(await send("PUT", `/photos/${"k".repeat(1025)}`, { body: "" }))).toBe("400 KeyTooLongError");

  // A delete that names a version or another state of the object deletes nothing.
  const removal = (options: object) => send("DELETE", "/photos/once", options);
  expect(codeOf(await removal({ query: { versionId: "abc" } }))).toBe("404 NoSuchVersion");
  for (const headers of [
    { "if-match": '"other"' },
    { "x-amz-if-match-size": 77 },
    { "x-amz-if-match-last-modified-time": "Thu, 01 Jan 1970 00:00:01 GMT" },
  ]) {
    expect(codeOf(await removal({ headers }))).toBe("412 PreconditionFailed");
  }
  const several = ["<Size>77</Size>", "<ETag>x</ETag>", "<VersionId>x</VersionId>"]
    .map((each) => `<Object><Key>once</Key>${each}</Object>`)
    .join("");
  const errors = await send("POST", "/photos", { query: { delete: "" }, body: `<Delete>${several}</Delete>` });
  expect(valuesOf(errors.text, "Code").sort()).toEqual(["NoSuchVersion", "PreconditionFailed", "PreconditionFailed"]);
  const { etag = "" } = (await send("HEAD", "/photos/once")).headers;
  expect((await removal({ headers: { "if-match": etag, "x-amz-if-match-size": 2 } })).status).toBe(204);
  expect(codeOf(await send("HEAD", "/photos/once"))).toBe("404");

  await uploadsInParts(s3);
  const all = valuesOf((await send("GET", "/photos")).text, "Key");
  const objects = all.map((key) => `<Object><Key>${key}</Key></Object>`).join("");
  const deleted = await send("POST", "/photos", { query: { delete: "" }, body: `<Delete>${objects}</Delete>` });
  expect(valuesOf(deleted.text, "Key")).toEqual(all);
  expect((await send("DELETE", "/photos")).status).toBe(204);
  // Nothing of it remains, and files that a crash has left are removed, too.
  const orphan = join(folder, "temporary/orphan");
  writeFileSync(orphan, "half");
  utimesSync(orphan, 0, 0);
  await waitFor("the sweep", () => filesIn(folder).length === 0 && readdirSync(join(folder, "temporary")).length === 0);
}

/** Compares every page of every listing, with both APIs, with the keys as a plain list. */
async function listingsAgree(s3: S3, keys: string[]): Promise<void> {
  const decode = (names: string[]) => names.map(decodeURIComponent);
  const walk = async (list: Record<string, string | number>, next: (text: string) => object | undefined) => {
    const [objects, prefixes]: [string[], string[]] = [[], []];
    for (let position: object | undefined = {}; position !== undefined; ) {
      const query = { ...list, ...position, "encoding-type": "url" };
      const { status, text } = await s3.request("GET", "/photos", { query });
      expect([status, query]).toEqual([200, query]);
      objects.push(...valuesOf(text, "Key"));
      prefixes.push(...[...text.matchAll(/<CommonPrefixes><Prefix>([^<]*)/g)].map(([, name]) => name ?? ""));
      position = next(text);
    }
    return [decode(objects), decode(prefixes)];
  };
  const token = (text: string) => {
    const [value] = valuesOf(text, "NextContinuationToken");
    return value === undefined ? undefined : { "continuation-token": value };
  };
  const marker = (text: string) => {
    const [value] = valuesOf(text, "NextMarker");
    return value === undefined ? undefined : { marker: decodeURIComponent(value) };
  };
  const inOrder = (names: Iterable<string>) =>
    [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const prefix of ["", "a", "é", "none"]) {
    for (const delimiter of ["", "/", "%"]) {
      const [objects, prefixes]: [string[], string[]] = [[], []];
      for (const key of keys.filter((each) => each.startsWith(prefix))) {
        const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
        if (at < 0) objects.push(key);
        else prefixes.push(key.slice(0, at + 1));
      }
      const expected = [inOrder(objects), inOrder(new Set(prefixes))];
      const list = { prefix, delimiter, "max-keys": 2 };
      expect([list, await walk(list, marker)]).toEqual([list, expected]);
      for (const most of [1, 1000]) {
        const list = { prefix, delimiter, "max-keys": most, "list-type": 2 };
        expect([list, await walk(list, token)]).toEqual([list, expected]);
      }
    }
  }
}

async function uploadsInParts(s3: S3): Promise<void> {
  const send = s3.request.bind(s3);
  const begin = await send("POST", "/photos/parts", {
    query: { uploads: "" },
    headers: { "x-amz-checksum-algorithm": "CRC32C" },
  });
  const [uploadId = ""] = valuesOf(begin.text, "UploadId");
  const bodies = [randomBytes(5 * MB), randomBytes(5 * MB), randomBytes(1000)];
  // In any order, over all instances, and one part twice.
  const put = (partNumber: number, body: Buffer) =>
    send("PUT", "/photos/parts", { query: { partNumber, uploadId }, body });
  await Promise.all([put(3, bodies[2] as Buffer), put(2, randomBytes(5 * MB)), put(1, bodies[0] as Buffer)]);
  expect((await put(2, bodies[1] as Buffer)).headers.etag).toBe(`"${md5(bodies[1] as Buffer)}"`);
  expect(valuesOf((await send("GET", "/photos/parts", { query: { uploadId } })).text, "PartNumber")).toEqual([
    "1",
    "2",
    "3",
  ]);
  expect(valuesOf((await send("GET", "/photos", { query: { uploads: "" } })).text, "UploadId")).toEqual([uploadId]);
  const list = (numbers: number[]) =>
    `<CompleteMultipartUpload>${numbers
      .map((n) => `<Part><PartNumber>${n}</PartNumber><ETag>"${md5(bodies[n - 1] as Buffer)}"</ETag></Part>`)
      .join("")}</CompleteMultipartUpload>`;
  const complete = (body: string) => send("POST", "/photos/parts", { query: { uploadId }, body });
  expect(codeOf(await complete(list([2, 1])))).toBe("400 InvalidPartOrder");
  expect(codeOf(await complete(list([1, 3, 2].sort()).replace(/"[0-9a-f]+"/, '"0"')))).toBe("400 InvalidPart");
  // If several requests complete it at once, one does so, and each gets that result.
  const completions = await Promise.all(Array.from({ length: 6 }, () => complete(list([1, 2, 3]))));
  expect(new Set(completions.map(({ text }) => text)).size).toBe(1);
  const [done, again] = [completions[0] as S3Response, await complete(list([1, 2, 3]))];
  const etag = `${md5(Buffer.concat(bodies.map((body) => Buffer.from(md5(body), "hex"))))}-3`;
  expect([done.status, valuesOf(done.text, "ETag")]).toEqual([200, [`&quot;${etag}&quot;`]]);
  expect(again.text).toBe(done.text);
  const whole = Buffer.concat(bodies);
  expect((await send("GET", "/photos/parts")).bytes.equals(whole)).toBe(true);
  // Across the border of two parts.
  const range = { range: `bytes=${5 * MB - 5}-${5 * MB + 4}` };
  expect(
    (await send("GET", "/photos/parts", { headers: range })).bytes.equals(whole.subarray(5 * MB - 5, 5 * MB + 5)),
  ).toBe(true);

  // Copied parts need no upload, and a range of them may begin anywhere.
  const second = await send("POST", "/photos/copied", { query: { uploads: "" } });
  const [copyId = ""] = valuesOf(second.text, "UploadId");
  const headers = { "x-amz-copy-source": "/photos/parts", "x-amz-copy-source-range": "bytes=5-5242889" };
  const copy = await send("PUT", "/photos/copied", { query: { partNumber: 1, uploadId: copyId }, headers });
  const [copyTag = ""] = valuesOf(copy.text, "ETag");
  const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${copyTag}</ETag></Part></CompleteMultipartUpload>`;
  expect((await send("POST", "/photos/copied", { query: { uploadId: copyId }, body })).status).toBe(200);
  expect((await send("GET", "/photos/copied")).bytes.equals(whole.subarray(5, 5_242_890))).toBe(true);

  const third = await send("POST", "/photos/none", { query: { uploads: "" } });
  const [noneId = ""] = valuesOf(third.text, "UploadId");
  expect((await send("DELETE", "/photos/none", { query: { uploadId: noneId } })).status).toBe(204);
  expect(codeOf(await send("PUT", "/photos/none", { query: { partNumber: 1, uploadId: noneId }, body: "x" }))).toBe(
    "404 NoSuchUpload",
  );
}
