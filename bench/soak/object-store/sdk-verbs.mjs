/** Runs one verb of AWS's SDK for JavaScript: node sdk-verbs.mjs FOLDER VERB ARGUMENT... */
import { createReadStream, createWriteStream, mkdirSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pipeline } from "node:stream/promises";

const [folder, verb, ...args] = process.argv.slice(2);
const load = createRequire(path.join(folder, "package.json"));
const s3 = load("@aws-sdk/client-s3");
if (verb === "check") process.exit(0);
const { Upload } = load("@aws-sdk/lib-storage");
const { getSignedUrl } = load("@aws-sdk/s3-request-presigner");
const client = new s3.S3Client({ endpoint: process.env.S3_URL, region: "us-east-1", forcePathStyle: true });
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
    process.stdout.write(`${count}\n`);
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
  presignedGet: async (Bucket, Key) =>
    process.stdout.write(await getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key }))),
  presignedPut: async (Bucket, Key) =>
    process.stdout.write(await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key }))),
};
await VERBS[verb](...args);
