/** `examples/object-store` as its README starts it: four instances, a signed client, and the installed Debian clients. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import { S3 } from "../bench/soak/object-store/client.mjs";
import { programs } from "../bench/soak/object-store/programs.mjs";
import { fillBucket, makeFiles, round } from "../bench/soak/object-store/rounds.mjs";
import { Metadata } from "../examples/object-store/metadata.ts";
import type { PutCondition } from "../examples/object-store/schema.ts";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { endExample } from "./support/example.js";
import { codeOf, MB, type Started, startStore, worksThrough } from "./support/object-store.js";
import { startPostgres } from "./support/postgres.js";
import { waitFor } from "./support/wait.js";

describe("on bun, with SQLite", () => {
  test("objects, listings, conditions, copies and uploads in parts, over four instances", async () => {
    const store = await startStore("bun", { STORE_PUBLIC: "public" });
    const { s3, project } = store;
    await worksThrough(store);
    const database = readdirSync(store.folder).filter((name) => name.startsWith("store.sqlite"));
    expect(database.sort()).toEqual(["", "-shm", "-wal", ".reserve"].map((end) => `store.sqlite${end}`));
    for (const name of database) expect([name, statSync(join(store.folder, name)).mode & 0o777]).toEqual([name, 0o600]);

    // Permissions.
    await s3.request("PUT", "/public");
    await s3.request("PUT", "/private");
    for (const bucket of ["public", "private"]) {
      await s3.request("PUT", `/${bucket}/page.html`, { body: "<p>hello", headers: { "content-type": "text/html" } });
    }
    const anybody = (fields: object, query = "") => s3.send("GET", `/public/page.html${query}`, { ...fields });
    const open = await anybody({ range: "bytes=3-" });
    expect([open.status, open.text, open.headers["content-type"]]).toEqual([206, "hello", "text/html"]);
    // The validators of public responses are those of signed requests.
    const { etag, "last-modified": modified } = (await s3.request("HEAD", "/public/page.html")).headers;
    const [same, other] = [{ "if-none-match": etag }, { "if-match": '"other"' }];
    expect(open.headers).toMatchObject({ etag, "last-modified": modified });
    expect([codeOf(await anybody({ "if-match": etag })), codeOf(await anybody(same))]).toEqual(["200", "304"]);
    const whole = await anybody({});
    expect([whole.status, whole.text, whole.headers["x-accel-redirect"]]).toEqual([200, "<p>hello", undefined]);
    expect(whole.headers).toMatchObject({ etag, "last-modified": modified, "content-type": "text/html" });
    expect(codeOf(await anybody(other))).toBe("412 PreconditionFailed");
    expect(codeOf(await anybody({ range: "bytes=99-" }))).toBe("416 InvalidRange");
    expect(codeOf(await anybody({}, "?response-content-type=text/plain"))).toBe("400 InvalidRequest");
    expect(codeOf(await s3.send("GET", "/private/page.html"))).toBe("403 AccessDenied");
    expect(codeOf(await s3.send("GET", "/public"))).toBe("403 AccessDenied");
    expect(codeOf(await s3.send("PUT", "/public/page.html", {}, Buffer.from("x")))).toBe("403 AccessDenied");
    expect((await s3.send("GET", s3.presign("GET", "/private/page.html"))).text).toBe("<p>hello");
    const late = { now: new Date(Date.now() - 3_600_000), expires: 60 };
    expect(codeOf(await s3.send("GET", s3.presign("GET", "/private/page.html", late)))).toBe("403 AccessDenied");
    const stranger = new S3({ port: project.port, accessKey: store.keys.accessKey, secret: "wrong" });
    onTestFinished(() => stranger.close());
    expect(codeOf(await stranger.request("GET", "/private/page.html"))).toBe("403 SignatureDoesNotMatch");
    const host = `private.localhost:${project.port}`;
    expect((await s3.request("GET", "/page.html", { host })).text).toBe("<p>hello");

    // A body that breaks off leaves nothing.
    const half = new Readable({ read() {} });
    half.push(randomBytes(200_000));
    const broken = s3.request("PUT", "/private/half", { body: half, headers: { "content-length": 400_000 } });
    await waitFor("its first bytes", () => readdirSync(join(store.folder, "temporary")).length > 0);
    half.destroy(new Error("the client has gone"));
    await expect(broken).rejects.toThrow();
    await waitFor("it to be removed", () => readdirSync(join(store.folder, "temporary")).length === 0);
    expect(codeOf(await s3.request("GET", "/private/half"))).toBe("404 NoSuchKey");

    // A restart in the middle of an upload lets the upload finish.
    const instancesOf = ({ pools }: Status) => pools.find(({ name }) => name === "store")?.instances ?? [];
    // A report of an earlier request would name another instance.
    await project.statusWhere("the requests before it to be over", (each) =>
      instancesOf(each).every(({ inFlight }) => inFlight === 0),
    );
    const slow = new Readable({ read() {} });
    const upload = s3.request("PUT", "/private/slow", { body: slow, headers: { "content-length": 300_000 } });
    slow.push(Buffer.alloc(150_000, 1));
    const status = await project.statusWhere("the upload to be in flight", (each) =>
      instancesOf(each).some(({ inFlight }) => inFlight === 1),
    );
    const restart = project.restart(instancesOf(status).find(({ inFlight }) => inFlight === 1)?.name);
    await project.statusWhere("it to drain", (each) =>
      instancesOf(each).some(({ other }) => other?.role === "outgoing"),
    );
    slow.push(Buffer.alloc(150_000, 2));
    slow.push(null);
    expect((await upload).status).toBe(200);
    expect((await restart).code).toBe(0);

    await clientsAgree(store);
    await endExample(project);
  });
});

/** A round of each installed client, all at once; in `npm run soak:object-store` they have more files, and are disturbed. */
async function clientsAgree({ project, s3, keys }: Started): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "pl-clients-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const files = makeFiles(folder, { largeBytes: 17 * MB, files: 21 });
  // Two pages.
  const listed = 1010;
  await fillBucket(s3, "full", listed);
  // The start of awscli takes longer than most of its commands.
  const place = { url: `http://127.0.0.1:${project.port}`, ...keys, isOneProcess: true };
  const missing: string[] = [];
  const installed = programs(place, missing);
  onTestFinished(() => installed.forEach((program) => void program.close()));
  if (missing.length > 0) console.log(`not installed: ${missing.join(", ")}`);
  const rounds = installed.map(async (program, number) => {
    const options = { place, bucket: `round-${number}`, full: "full", listed, folder, phase: () => undefined };
    const steps = await round(program, files, options);
    return steps.filter(({ failure }) => failure !== undefined).map((step) => ({ program: program.name, ...step }));
  });
  expect((await Promise.all(rounds)).flat()).toEqual([]);
}

test("with PostgreSQL, on node", async (context) => {
  const postgres = await startPostgres(context);
  // Each instance loads its TypeScript, which takes a second of CPU time on Node.
  const store = await startStore("node", { DATABASE_URL: postgres.url, STORE_INSTANCES: "2" });
  await worksThrough(store);

  // A put that is sent again, because its first attempt may have been cut off after its transaction, does not reject itself.
  const metadata = await Metadata.open("", postgres.url);
  onTestFinished(() => metadata.close());
  await metadata.createBucket("again", 1);
  const put = (etag: string, condition: PutCondition, request: string) => {
    const object = { key: "k", size: 0, etag, modified: 1, segments: [], fields: {} };
    return metadata.putObject("again", object, condition, request).then(
      () => "put",
      (error) => error.code,
    );
  };
  const outcomes = [await put("a", "absent", "r1"), await put("a", "absent", "r1"), await put("b", "absent", "r11")];
  outcomes.push(await put("b", { etag: "a" }, "r2"), await put("b", { etag: "a" }, "r2"));
  outcomes.push(await put("a", "absent", "r1"), await put("c", { etag: "a" }, "r3"));
  const refused = "PreconditionFailed";
  expect(outcomes).toEqual(["put", "put", refused, "put", "put", refused, refused]);
  await endExample(store.project);
});
