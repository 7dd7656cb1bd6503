/** Runs verbs of AWS's SDK for JavaScript: each line of input is a JSON list, each line of output its result. */
import { createReadStream, createWriteStream, mkdirSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";

const load = createRequire(path.join(process.argv[2], "package.json"));
const s3 = load("@aws-sdk/client-s3");
const { Upload } = load("@aws-sdk/lib-storage");
const { getSignedUrl } = load("@aws-sdk/s3-request-presigner");
const { S3_URL: endpoint, S3_STYLE } = process.env;
const options = { endpoint, region: "us-east-1", forcePathStyle: S3_STYLE === "path" };
const client = new s3.S3Client(options);
const PART_BYTES = 8 << 20;

async function* keysOf(Bucket, Prefix) {
  for await (const { Contents = [] } of s3.paginateListObjectsV2({ client }, { Bucket, Prefix })) {
    for (const { Key } of Contents) yield Key;
  }
}

async function put(file, Bucket, Key) {
  const isLarge = statSync(file).size > PART_BYTES;
  const params = { Bucket, Key, Body: createReadStream(file) };
  if (isLarge) await new Upload({ client, partSize: PART_BYTES, params }).done();
  else await client.send(new s3.PutObjectCommand({ ...params, ContentLength: statSync(file).size }));
}

async function get(Bucket, Key, file, Range) {
  const { Body } = await client.send(new s3.GetObjectCommand({ Bucket, Key, Range }));
  await pipeline(Body, createWriteStream(file));
}

const VERBS = {
  makeBucket: (Bucket) => client.send(new s3.CreateBucketCommand({ Bucket })),
  put,
  get,
  range: (bucket, key, first, last, file) => get(bucket, key, file, `bytes=${first}-${last}`),
  async count(bucket) {
    let count = 0;
    for await (const _ of keysOf(bucket)) count++;
    return count;
  },
  async upload(from, bucket) {
    for (const name of readdirSync(from, { recursive: true })) {
      const file = path.join(from, name);
      if (statSync(file).isFile()) await put(file, bucket, `tree/${name}`);
    }
  },
  async download(bucket, to) {
    for await (const key of keysOf(bucket, "tree/")) {
      const file = path.join(to, key.slice("tree/".length));
      mkdirSync(path.dirname(file), { recursive: true });
      await get(bucket, key, file);
    }
  },
  copy: (Bucket, from, Key) =>
    client.send(new s3.CopyObjectCommand({ Bucket, Key, CopySource: encodeURI(`${Bucket}/${from}`) })),
  remove: (Bucket, Key) => client.send(new s3.DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key }] } })),
  presignedGet: (Bucket, Key) => getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key })),
  presignedPut: (Bucket, Key) => getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key })),
  wrongKeys() {
    const credentials = { accessKeyId: "wrong", secretAccessKey: "wrong" };
    return new s3.S3Client({ ...options, credentials }).send(new s3.ListBucketsCommand({}));
  },
};
for await (const line of createInterface(process.stdin)) {
  const [verb, ...args] = JSON.parse(line);
  const reply = await VERBS[verb](...args).then(
    (result) => ({ result: typeof result === "object" ? null : result }),
    (error) => ({ failure: `${error.name}: ${error.message}` }),
  );
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
