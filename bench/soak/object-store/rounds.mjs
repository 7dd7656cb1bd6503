/** One round of a client: everything that a team does with a store, each step with its checks. */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { byCurl } from "./programs.mjs";

const hashOf = (file) => createHash("sha256").update(readFileSync(file)).digest("hex");

/** Creates the files that a round uploads: a small file, one for a multipart upload, and a tree. */
export function makeFiles(folder, { largeBytes, files }) {
  mkdirSync(folder, { recursive: true });
  const small = path.join(folder, "small.bin");
  const large = path.join(folder, "large.bin");
  const tree = path.join(folder, "tree");
  writeFileSync(small, randomBytes(100_000));
  writeFileSync(large, randomBytes(largeBytes));
  for (let n = 0; n < files; n++) {
    const place = path.join(tree, `folder ${n % 7}`, n % 3 === 0 ? "deep/er" : "");
    mkdirSync(place, { recursive: true });
    writeFileSync(path.join(place, `file-${n} é+%.txt`), randomBytes(n * 37));
  }
  return { small, large, tree };
}

function treeOf(folder) {
  const names = readdirSync(folder, { recursive: true }).filter((name) => statSync(path.join(folder, name)).isFile());
  return names.sort().map((name) => `${name} ${hashOf(path.join(folder, name))}`);
}

/** The content of a bucket that each client lists: creating it takes long, so it is done once. */
export async function fillBucket(s3, bucket, count) {
  await s3.request("PUT", `/${bucket}`);
  const numbers = Array.from({ length: count }, (_, n) => n);
  const next = async () => {
    for (let n = numbers.pop(); n !== undefined; n = numbers.pop()) {
      const { status, text } = await s3.request("PUT", `/${bucket}/many/${n}`, { body: `${n}` });
      if (status !== 200) throw new Error(`${status} ${text}`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, next));
}

/**
 * @param place of the store, as for `programs()`.
 * @param phase is called before each step with its name, such as `multipart`, and awaited
 * @returns the steps, with their problems, if there were any
 */
export async function round(program, files, { place, bucket, full, listed, folder, phase }) {
  const got = (name) => path.join(folder, `${program.name.replace(/\W/g, "-")}-${name}`);
  const steps = [];
  const step = async (name, run) => {
    await phase(name);
    const startedAt = performance.now();
    const failure = await run().catch((error) => `${error.message}\n${error.stderr ?? ""}`.slice(0, 600));
    steps.push({ name, ms: performance.now() - startedAt, failure: failure || undefined });
  };
  const same = (a, b) => (hashOf(a) === hashOf(b) ? "" : `${b} differs`);
  const key = "docs/small é+ %.bin";
  await step("bucket", async () => void (await program.makeBucket(bucket)));
  await step("put", async () => void (await program.put(files.small, bucket, key)));
  await step("get", async () => {
    await program.get(bucket, key, got("small"));
    return same(files.small, got("small"));
  });
  if (program.range !== undefined) {
    await step("range", async () => {
      await program.range(bucket, key, 100, 299, got("range"));
      return readFileSync(got("range")).equals(readFileSync(files.small).subarray(100, 300)) ? "" : "another range";
    });
  }
  await step("list", async () => {
    const count = await program.count(full);
    return count === listed ? "" : `${count} keys of ${listed}`;
  });
  await step("sync", async () => {
    await program.upload(files.tree, bucket);
    rmSync(got("tree"), { recursive: true, force: true });
    await program.download(bucket, got("tree"));
    const [there, here] = [treeOf(got("tree")), treeOf(files.tree)];
    return there.join() === here.join() ? "" : `the trees differ: ${there.length} files of ${here.length}`;
  });
  await step("multipart", async () => {
    await program.put(files.large, bucket, "large.bin");
    await program.get(bucket, "large.bin", got("large"));
    const failure = same(files.large, got("large"));
    rmSync(got("large"));
    return failure;
  });
  await step("copy", async () => {
    await program.copy(bucket, key, "copied.bin");
    await program.get(bucket, "copied.bin", got("copied"));
    return same(files.small, got("copied"));
  });
  if (program.presignedGet !== undefined) {
    await step("presigned get", async () => {
      const url = await program.presignedGet(bucket, "copied.bin");
      const { status, bytes } = await byCurl(place, url, { received: got("presigned") });
      return bytes.equals(readFileSync(files.small)) ? "" : `${status} ${bytes.toString("latin1", 0, 300)}`;
    });
  }
  if (program.presignedPut !== undefined) {
    await step("presigned put", async () => {
      const url = await program.presignedPut(bucket, "presigned.bin");
      const { status, bytes } = await byCurl(place, url, { sent: files.small, received: got("reply") });
      if (status !== 200) return `${status} ${bytes}`;
      await program.get(bucket, "presigned.bin", got("presigned"));
      return same(files.small, got("presigned"));
    });
  }
  await step("delete", async () => {
    await program.remove(bucket, "copied.bin");
    // For some clients a missing object is an empty folder.
    await program.get(bucket, "copied.bin", got("gone")).catch(() => undefined);
    return existsSync(got("gone")) ? "it is still there" : "";
  });
  await step("wrong keys", () =>
    program.wrongKeys().then(
      () => "they were accepted",
      () => "",
    ),
  );
  return steps;
}
