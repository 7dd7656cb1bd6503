/** The same requests to us and to `send` get the same responses, except where `forSend` and `expectedFor` give a reason. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, type Received, type RuntimeName, type Target } from "./harness.js";
import { BIG_BYTES, makeSite, type Oracle, type Served, serveSite, serveWithSend, settled } from "./static-harness.js";

interface Ask {
  method: "GET" | "HEAD";
  path: string;
  headers: Record<string, string>;
}

/** Placeholders for each server's validators. */
const ETAG = "$ETAG";
const MODIFIED = "$MODIFIED";

const PATHS = [
  "/",
  "/index.html",
  "/docs/",
  "/a.css",
  "/data.json",
  "/empty.txt",
  "/noextension",
  "/sp%20ace/%C3%A4%20b.txt",
];
const LARGE = ["/middle.bin", "/big.bin"];
const MISSING = [
  "/nope",
  "/a.css/",
  "/a.css/b",
  "/docs/nope",
  "/.env",
  "/.git/config",
  "/%00",
  "/%",
  "/%ff",
  "/loop",
  `/${"x".repeat(300)}`,
];

/** How many requests of the table are in progress at once. */
const AT_ONCE = 8;
const TABLE: Ask[] = [];
const add = (path: string, headers: Record<string, string> = {}, method: Ask["method"] = "GET") =>
  TABLE.push({ method, path, headers });
for (const path of [...PATHS, ...LARGE, ...MISSING]) {
  add(path);
  add(path, {}, "HEAD");
}
for (const path of ["/a.css", "/empty.txt", "/middle.bin"]) {
  for (const tag of [ETAG, `W/${ETAG}`, `"x", ${ETAG}`, "*", '"x"']) {
    add(path, { "if-none-match": tag });
    add(path, { "if-match": tag });
    add(path, { "if-none-match": tag }, "HEAD");
  }
  for (const date of [MODIFIED, "Mon, 01 Jan 2024 00:00:00 GMT", "Fri, 01 Jan 2027 00:00:00 GMT", "nonsense"]) {
    add(path, { "if-modified-since": date });
    add(path, { "if-unmodified-since": date });
    add(path, { "if-modified-since": date, "if-none-match": '"x"' });
  }
}
for (const path of ["/a.css", "/middle.bin", "/big.bin"]) {
  for (const range of ["0-0", "0-", "5-9", "-5", "-9999999", "799-", "100-5000000", "9000000-", "5-4", "a-b", "-"]) {
    add(path, { range: `bytes=${range}` });
    add(path, { range: `bytes=${range}`, "if-range": ETAG });
    add(path, { range: `bytes=${range}`, "if-range": MODIFIED });
    add(path, { range: `bytes=${range}`, "if-range": '"x"' });
  }
  add(path, { range: "lines=0-1" });
  add(path, { range: "bytes=0-4", "if-range": "Mon, 01 Jan 2024 00:00:00 GMT" });
}

const random: fc.Arbitrary<Ask> = fc.record({
  method: fc.constantFrom("GET" as const, "GET" as const, "HEAD" as const),
  path: fc.constantFrom(...PATHS, ...LARGE, ...MISSING),
  headers: fc
    .record(
      {
        range: fc.tuple(fc.nat(BIG_BYTES + 9), fc.nat(BIG_BYTES + 9), fc.nat(2)).map(([a, b, form]) => {
          return `bytes=${[`${Math.min(a, b)}-${Math.max(a, b)}`, `${a}-`, `-${b}`][form]}`;
        }),
        "if-range": fc.constantFrom(ETAG, MODIFIED, '"x"'),
        "if-none-match": fc.constantFrom(ETAG, '"x"', '"x", "y"'),
        "if-match": fc.constantFrom(ETAG, '"x"', "*"),
        "if-modified-since": fc.constantFrom(MODIFIED, "Mon, 01 Jan 2024 00:00:00 GMT"),
        "if-unmodified-since": fc.constantFrom(MODIFIED, "Mon, 01 Jan 2024 00:00:00 GMT"),
      },
      { requiredKeys: [] },
    )
    .map((headers) => headers as Record<string, string>),
});

/** Returns what a client would see of the response; it must be the same for both. */
function noticed({ status, headers, body }: Received) {
  const isFile = status < 300;
  const isKnown = isFile || status === 304;
  return {
    status,
    type: isFile ? headers["content-type"] : undefined,
    length: isFile ? headers["content-length"] : undefined,
    range: headers["content-range"],
    accepts: isFile ? headers["accept-ranges"] : undefined,
    modified: isKnown ? headers["last-modified"] : undefined,
    hasTag: isKnown ? headers.etag !== undefined : undefined,
    body: isFile ? createHash("sha1").update(body).digest("hex") : undefined,
  };
}

const SIZES = new Map([
  ["/", 14],
  ["/index.html", 14],
  ["/docs/", 14],
  ["/a.css", 800],
  ["/data.json", 7],
  ["/noextension", 5],
  ["/sp%20ace/%C3%A4%20b.txt", 6],
  ["/middle.bin", 100_000],
  ["/big.bin", BIG_BYTES],
]);

/** Returns the request that send treats as we treat this one, where we differ for a good reason. */
function forSend({ method, path, headers: given }: Ask): Ask {
  const { "if-range": ifRange, "if-match": ifMatch, "if-unmodified-since": unmodified, range, ...headers } = given;
  // Range applies only to GET (RFC 9110, section 14.2); send also follows it for HEAD. An invalid Range may be ignored (section 14.2), as
  // nginx does; send responds that there is no such part.
  const isUnderstood = range === undefined || !/=(?:5-4|a-b|-)$/.test(range);
  if (range !== undefined && isUnderstood && method === "GET") {
    headers.range = range;
    // A suffix longer than the file is the whole file (section 14.1.2); send responds that there is none.
    if (Number(/=-(\d+)$/.exec(range)?.[1]) > (SIZES.get(path) ?? Number.POSITIVE_INFINITY)) headers.range = "bytes=0-";
    // send's ETags are weak, so If-Range never matches them; an equal date replaces ours.
    if (ifRange !== undefined) headers["if-range"] = ifRange === ETAG ? MODIFIED : ifRange;
  }
  // A weak ETag matches nothing in If-Match (section 13.1.1).
  if (ifMatch !== undefined) headers["if-match"] = ifMatch === `W/${ETAG}` ? '"x"' : ifMatch;
  // With If-Match it is ignored (section 13.2.2); send follows both.
  else if (unmodified !== undefined) headers["if-unmodified-since"] = unmodified;
  return { method, path, headers };
}

/** Returns the expected response where we differ for a good reason. */
function expectedFor({ method, path, headers }: Ask, fromSend: ReturnType<typeof noticed>, isBunAlone: boolean) {
  const expected = { ...fromSend, type: fromSend.type?.replace("charset=UTF-8", "charset=utf-8") };
  // No file can have such a path: the request is invalid.
  if (["/%00", "/%", "/%ff"].includes(path)) expected.status = 400;
  // A cycle of links is not the server's fault.
  if (path === "/loop") expected.status = 404;
  // Bun would follow a Range that must be ignored; a body of unknown length prevents it.
  const isLarge = path === "/big.bin";
  if (isBunAlone && isLarge && method === "GET" && headers.range !== undefined && expected.status === 200) {
    expected.length = undefined;
  }
  return expected;
}

const site = makeSite();
let oracle: Oracle;
beforeAll(async () => {
  oracle = await serveWithSend(site.root);
  await settled();
});
afterAll(async () => {
  await oracle.close();
  site.remove();
});

/** For each server and path. */
const validators = new Map<string, Promise<Received["headers"]>>();
function validatorsOf(target: Target, path: string): Promise<Received["headers"]> {
  const key = JSON.stringify([target, path]);
  const known = validators.get(key) ?? ask(target, path, { method: "HEAD" }).then(({ headers }) => headers);
  validators.set(key, known);
  return known;
}

/** Sends the request with this server's validators instead of the placeholders. */
async function askWithValidators(target: Target, { method, path, headers }: Ask): Promise<Received> {
  const needs = Object.values(headers).some((value) => value.includes("$"));
  const { etag = '"none"', "last-modified": modified = "" } = needs ? await validatorsOf(target, path) : {};
  const filled = Object.entries(headers).map(([name, value]) => [
    name,
    value.replace(ETAG, etag.replace(/^W\//, "")).replace(MODIFIED, modified),
  ]);
  return ask(target, path, { method, headers: Object.fromEntries(filled) });
}

/** send's response is the same for each of our servers, so it is requested once. */
const fromSendOnce = new Map<string, Promise<ReturnType<typeof noticed>>>();
function answerOfSend(request: Ask): Promise<ReturnType<typeof noticed>> {
  const key = JSON.stringify(request);
  const known = fromSendOnce.get(key) ?? askWithValidators(oracle.target, request).then(noticed);
  fromSendOnce.set(key, known);
  return known;
}

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  // Over HTTP/1.1 behind a balancer, a folder is served by the same code as alone.
  describe.each(["alone", "lane"] as const)(`on ${runtime}, %s`, (way) => {
    let served: Served;
    beforeAll(async () => {
      served = await serveSite(runtime, way, site.root);
    });
    afterAll(() => served.close());

    const isBunAlone = runtime === "bun" && way === "alone";
    const compare = async (request: Ask) => {
      const ours = noticed(await askWithValidators(served.target, request));
      const fromSend = await answerOfSend(forSend(request));
      expect(ours, JSON.stringify(request)).toEqual(expectedFor(request, fromSend, isBunAlone));
    };

    it("responds to the table as send does", async () => {
      for (let at = 0; at < TABLE.length; at += AT_ONCE) await Promise.all(TABLE.slice(at, at + AT_ONCE).map(compare));
    });

    it("responds to random requests as send does", async () => {
      await fc.assert(fc.asyncProperty(random, compare), { numRuns: 60 });
    });
  });
}
