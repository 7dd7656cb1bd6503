/** Request and Response over the lane behave as in a standalone server: the same scenarios, the same responses. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NAMES } from "./fixtures/semantics.js";
import { ask, type Received, type RuntimeName, type Standalone, startAlone, type Target, Wire } from "./harness.js";
import { startOverLane } from "./lane-harness.js";

/** Content-Length and chunked are both correct; Node's client rejects a body that differs from its length. */
const SHOWN = /^(?:x-|set-cookie$|content-type$|location$|etag$)/;

/** Returns the part that must be the same. */
function shown({ status, headers, body }: Received, boundary = /-+[\w-]*boundary[\w-]*|-+formdata-[\w-]+/gi) {
  // Servers describe an app's error differently.
  if (status === 500) return { status };
  const fields = Object.entries(headers)
    // The last is Bun's own default type for bytes.
    .filter(([name, value]) => SHOWN.test(name) && value !== "application/octet-stream")
    .map(([name, value]) => [name, String(value).replace(boundary, "BOUNDARY").toLowerCase().replaceAll("; ", ";")]);
  return { status, headers: Object.fromEntries(fields.toSorted()), body: body.replace(boundary, "BOUNDARY") };
}

const MULTIPART = [
  '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n',
  '--b\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\nContent-Type: text/x-own\r\n\r\nfile\r\n--b--\r\n',
].join("");

const HEADERS = { "x-a": "1", accept: "a/b", cookie: "a=1; b=2", "x-b": "caf\u00e9" };

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe(`Request and Response on ${runtime}`, () => {
    let lane: Standalone;
    let alone: Standalone;
    beforeAll(async () => {
      [lane, alone] = await Promise.all([
        startOverLane(runtime, "semantics.ts"),
        startAlone(runtime, "tcp", "semantics.ts"),
      ]);
    });
    afterAll(async () => {
      await lane?.close();
      await alone?.close();
    });
    const both = async (path: string, options: Parameters<typeof ask>[2] = {}) => {
      const headers = { host: "shop.example", ...options.headers };
      const one = (target: Target) => ask(target, path, { ...options, headers }).then(shown, () => "cut");
      return Promise.all([one(lane.target), one(alone.target)]);
    };

    it.each(NAMES.asks)("a request: %s", async (name) => {
      const headers = { ...HEADERS, "content-type": "application/json" };
      for (const body of ['{"a":1}', `{"a":"${"b".repeat(300_000)}"}`]) {
        const [overLane, expected] = await both(`/asks/${name}?q=1`, { method: "POST", headers, body });
        expect(overLane).toEqual(expected);
      }
      const [overLane, expected] = await both(`/asks/${name}?q=1`, { headers: HEADERS });
      expect(overLane).toEqual(expected);
    });

    it.each([
      ["application/x-www-form-urlencoded", "a=1&b=%C3%A9+x"],
      ["multipart/form-data; boundary=b", MULTIPART],
      ["text/plain", "no form"],
    ])("a form of %s", async (type, body) => {
      const [overLane, expected] = await both("/asks/form", {
        method: "POST",
        headers: { "content-type": type },
        body,
      });
      expect(overLane).toEqual(expected);
    });

    it.each(NAMES.answers)("a response: %s", async (name) => {
      const [overLane, expected] = await both(`/answers/${name}`);
      expect(overLane).toEqual(expected);
      // Bun's own server leaves out some of the fields here.
      const head = await ask(lane.target, `/answers/${name}`, { method: "HEAD", headers: { host: "shop.example" } });
      const isFailure = typeof overLane === "string" || overLane.status === 500;
      expect(shown(head)).toEqual(isFailure ? { status: 500 } : { ...overLane, body: "" });
    });

    it.each([
      ["/url/a/../b/./c"],
      ["/url//a"],
      ["/url/a%2Fb?q=a%20b&c='d'"],
      ["/url/a|b^c`d"],
      ["/url/x", "SHOP.example:80"],
      ["/url/x", "shop.example:8080"],
      ["/url/x", "[::1]:81"],
      ["/url/x", "xn--bcher-kva.example"],
      ["/url/x", "a_b.example"],
      ["/url/x", "a.example."],
    ])("the URL of %s at %s", async (path, host = "shop.example") => {
      const raw = async ({ target }: Standalone) => {
        const wire = new Wire(target).send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
        return (await wire.closed()).replace(/\r\n[\s\S]*\r\n\r\n/, " ");
      };
      expect(await raw(lane)).toBe(await raw(alone));
    });

    it.each([
      // The rest is dropped.
      ["length-exceeded", 200],
      ["length-short", 200],
      // The length of the coded body does not count.
      ["length-decoded", 200],
      ["length-decoded-copy", 200],
      ["length-and-coding", 200],
      // A response that is shorter than its length is cut off, or fails if nothing was sent.
      ["length-long", ["cut", 502]],
      ["length-of-text", 200],
      ["length-odd", 500],
      ["length-of-text-odd", 500],
      // The instance sends no such head.
      ["control", 500],
      ["delete", 500],
      ["large", 500],
      ["huge", 500],
      ["many", 500],
      ["framing", 200],
      // No response has such a status.
      ["status-error", 500],
      ["status-101", 500],
      ["status-fetched", 500],
      ["status-low", 500],
      ["status-high", 500],
      ["status-negative", 500],
      ["status-nan", 500],
      ["status-text", 500],
      ["status-reason", 200],
      ["nothing-wrong", 404],
    ])("a response that cannot be sent unchanged does not affect others: %s", async (name, expected) => {
      const wire = new Wire(lane.target).send("POST /asks/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
      const answer = await ask(lane.target, `/wrong/${name}`, { headers: { host: "a" } }).catch(() => undefined);
      expect([expected].flat()).toContain(answer?.status ?? "cut");
      // A non-repeatable request ran on the same lane, and still gets its response.
      expect(await wire.gets(/slow/)).toMatch(/^HTTP\/1\.1 200 /);
      wire.destroy();
    });

    it.each([
      "/answers/body-stream-of-text",
      "/answers/no-content-with-length",
      "/wrong/length-of-text-odd",
      "/wrong/length-odd",
    ])("a Content-Length is a number, and a 204 has none: %s", async (path) => {
      for (const { target } of [lane, alone]) {
        const wire = new Wire(target).send(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
        const received = await wire.closed();
        expect(received).not.toMatch(/^content-length: (?!\d+\r$)/im);
        expect(received).not.toMatch(/^HTTP\/1.1 204 [\s\S]*content-length/i);
      }
    });

    it.each([
      ["length-exceeded", "aba"],
      ["length-short", "one"],
      ["length-and-coding", "one two"],
    ])("sends of a body that its head contradicts: %s", async (name, body) => {
      expect(await ask(lane.target, `/wrong/${name}`, { headers: { host: "a" } })).toMatchObject({ status: 200, body });
    });

    // No client could decode it, so the test reads the bytes.
    it.each(["length-decoded", "length-decoded-copy"])("sends all that fetch has decoded: %s", async (name) => {
      for (const { target } of [lane, alone]) {
        const wire = new Wire(target).send(`GET /wrong/${name} HTTP/1.1\r\nHost: a\r\n\r\n`);
        expect(await wire.gets(/a{1000}/)).toMatch(/^HTTP\/1\.1 200 /);
        wire.destroy();
      }
    });

    it.each(["body-buffer", "body-data-view", "body-view"])("bytes are sent with their length: %s", async (name) => {
      const { headers, body } = await ask(lane.target, `/answers/${name}`, { headers: { host: "a" } });
      expect(headers).toMatchObject({ "content-length": String(body.length) });
    });

    it.each(["reason-wide", "reason-control"])("a %s writes nothing of its own into the head", async (name) => {
      const answer = await ask(lane.target, `/wrong/${name}`, { headers: { host: "a" } });
      expect([200, 500]).toContain(answer.status);
      expect(answer.headers).not.toHaveProperty("x-b");
    });

    it.each(["through", "request"])("fetch with the request: %s", async (name) => {
      for (const options of [{}, { method: "POST", body: "sent on" }]) {
        const [overLane, expected] = await both(`/fetches/${name}`, { ...options, headers: { "x-a": "1" } });
        expect(overLane).toEqual(expected);
        expect(overLane).toMatchObject({ status: 200, body: expect.stringContaining(" 1 ") });
      }
    });
  });
}
