/**
 * An order against a CA that misbehaves: each order ends with a readable message and removes its challenge. test/certificates.test.ts has a
 * real CA.
 */
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { askRenewal, type ChallengeResponse, type OrderRequest, obtain } from "./acme-order.js";
import { issueCertificate, newKey } from "./x509.js";

const NAME = "shop.example";
const HOUR = 3_600_000;
const OWN = issueCertificate({
  name: "ca",
  names: ["127.0.0.1"],
  notBefore: Date.now() - HOUR,
  notAfter: Date.now() + HOUR,
});
const ERROR = "urn:ietf:params:acme:error:";

interface Sent {
  status?: number;
  headers?: Record<string, string>;
  body?: object | string;
}

let server: Server;
let origin = "";
/** Each test has a separate prefix, so that a request left over from the order of another test does not count for this one. */
let base = "";
let tests = 0;
let requests: { path: string; payload: Record<string, unknown> | undefined }[] = [];
/** What replaces the usual responses, by path. */
let replaced: Record<string, (payload: Record<string, unknown> | undefined, count: number) => Sent> = {};
let challengeStatus = "valid";

const USUAL: Record<string, () => Sent> = {
  "/dir": () => ({
    body: {
      ...{ newNonce: `${base}/nonce`, newAccount: `${base}/account`, newOrder: `${base}/new-order` },
      renewalInfo: `${base}/renewal`,
    },
  }),
  "/nonce": () => ({}),
  "/account": () => ({ status: 201, headers: { Location: `${base}/accounts/1` }, body: {} }),
  "/new-order": () => ({ status: 201, headers: { Location: `${base}/orders/1` }, body: orderIn("pending") }),
  "/orders/1": () => ({ body: orderIn("ready") }),
  "/authz": () => ({
    body: {
      status: challengeStatus === "valid" && requests.some(({ path }) => path === "/challenge") ? "valid" : "pending",
      challenges: [{ type: "http-01", url: `${base}/challenge`, token: "token", status: "pending" }],
    },
  }),
  "/challenge": () => ({ body: {} }),
  "/finalize": () => ({ body: { ...orderIn("valid"), certificate: `${base}/certificate` } }),
};

function orderIn(status: string): object {
  return { status, finalize: `${base}/finalize`, authorizations: [`${base}/authz`] };
}

beforeAll(async () => {
  server = createServer({ cert: OWN.certificatePem, key: OWN.keyPem }, (request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
    request.on("end", () => {
      if (!request.url?.startsWith(`${new URL(base).pathname}/`)) return void response.destroy();
      const path = request.url.slice(new URL(base).pathname.length);
      const sent = text === "" ? undefined : (JSON.parse(text) as { payload: string });
      const payload = sent?.payload ? JSON.parse(Buffer.from(sent.payload, "base64url").toString()) : undefined;
      requests.push({ path, payload });
      const count = requests.filter((each) => each.path === path).length;
      const {
        status = 200,
        headers = {},
        body = "",
      } = (replaced[path] ?? USUAL[path] ?? ((): Sent => ({ status: 404 })))(payload, count);
      response.writeHead(status, { "Replay-Nonce": `nonce${requests.length}`, ...headers });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => void server.close());
beforeEach(() => {
  base = `${origin}/${++tests}`;
  requests = [];
  replaced = {};
  challengeStatus = "valid";
});

const caOptions = (signal = AbortSignal.timeout(20_000)) => ({
  directory: `${base}/dir`,
  ca: OWN.certificatePem,
  signal,
  userAgent: "test",
});
const given: ChallengeResponse[] = [];

function order(more: Partial<OrderRequest> = {}) {
  given.length = 0;
  return obtain({
    ...caOptions(),
    ...{ name: NAME, account: { key: newKey(), url: undefined, email: null }, email: null, externalAccount: null },
    ...{ challenges: ["tls-alpn-01", "http-01"], replaces: undefined, onAccount: () => {}, pollMs: 1 },
    respond: async (response) => {
      given.push(response);
      return () => void given.splice(given.indexOf(response), 1);
    },
    ...more,
  });
}

const invalid = (error: object): Sent => ({
  body: {
    status: "invalid",
    challenges: [{ type: "http-01", url: `${base}/challenge`, token: "token", status: "invalid", error }],
  },
});

test.each<
  [
    name: string,
    path: string,
    response: (payload: Record<string, unknown> | undefined, count: number) => Sent,
    kind: string,
    words: string,
  ]
>([
  ["has no directory", "/dir", () => ({ body: "<html>" }), "unreachable", "is not JSON"],
  ["is down", "/dir", () => ({ status: 503, headers: { "Retry-After": "120" } }), "unreachable", "status 503"],
  ["sends without end", "/dir", () => ({ body: "x".repeat(300_000) }), "unreachable", "more than"],
  [
    "refuses each nonce",
    "/account",
    () => ({ status: 400, body: { type: `${ERROR}badNonce`, detail: "bad" } }),
    "unreachable",
    "badNonce",
  ],
  [
    "wants an account of its own",
    "/account",
    () => ({ status: 403, body: { type: `${ERROR}externalAccountRequired`, detail: "bind it" } }),
    "account",
    "bind it",
  ],
  [
    "has a limit",
    "/new-order",
    () => ({
      status: 429,
      headers: { "Retry-After": "60" },
      body: { type: `${ERROR}rateLimited`, detail: "too many" },
    }),
    "limited",
    "too many",
  ],
  [
    "refuses the name",
    "/new-order",
    () => ({ status: 400, body: { type: `${ERROR}rejectedIdentifier`, detail: "forbidden by policy" } }),
    "refused",
    "forbidden by policy",
  ],
  [
    "sends a malformed order",
    "/new-order",
    () => ({ status: 201, headers: { Location: "/x" }, body: { status: "pending" } }),
    "unreachable",
    "malformed",
  ],
  [
    "offers only dns-01",
    "/authz",
    () => ({ body: { status: "pending", challenges: [{ type: "dns-01" }] } }),
    "refused",
    "only dns-01",
  ],
  [
    "has a token that is a path",
    "/authz",
    () => ({ body: { status: "pending", challenges: [{ type: "http-01", url: "x", token: "../x" }] } }),
    "unreachable",
    "token is malformed",
  ],
  [
    "refuses the order",
    "/orders/1",
    () => ({ body: { ...orderIn("invalid"), error: { type: `${ERROR}caa`, detail: "CAA forbids it" } } }),
    "refused",
    "CAA forbids it",
  ],
  [
    "sends the certificate of another key",
    "/certificate",
    () => ({ body: OWN.certificatePem }),
    "refused",
    "has another key",
  ],
  [
    "sends no certificate",
    "/certificate",
    () => ({ body: "-----BEGIN RSA PRIVATE KEY-----" }),
    "unreachable",
    "not in PEM",
  ],
])("a CA that %s", async (_, path, response, kind, words) => {
  replaced[path] = response;
  const error = await order().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ kind, message: expect.stringContaining(words) });
  expect((error as Error).message).toMatch(/^127\.0\.0\.1:\d+/);
  expect(given).toEqual([]);
  // After a few nonces, it gives up.
  expect(requests.length).toBeLessThan(60);
});

test("a refused challenge has the CA's words, and is removed", async () => {
  replaced["/authz"] = (_, count) =>
    count === 1 ? (USUAL["/authz"] as () => Sent)() : invalid({ type: `${ERROR}dns`, detail: "no A record" });
  await expect(order()).rejects.toMatchObject({
    challenge: "http-01",
    message: expect.stringContaining("no A record"),
  });
  expect(given).toEqual([]);
});

test("a slow validation ends with the deadline of the order, and its challenge is removed", async () => {
  challengeStatus = "pending";
  await expect(order({ signal: AbortSignal.timeout(200) })).rejects.toMatchObject({ kind: "unreachable" });
  expect(given).toEqual([]);
});

test("a challenge that the balancers do not respond to is never announced to the CA", async () => {
  const respond = () => Promise.reject(new Error("no balancer"));
  await expect(order({ respond })).rejects.toMatchObject({
    kind: "local",
    message: expect.stringContaining("no balancer"),
  });
  expect(requests.some(({ path }) => path === "/challenge")).toBe(false);
});

test("the account is registered once, and a changed contact is sent", async () => {
  replaced["/certificate"] = () => ({ body: OWN.certificatePem });
  replaced["/accounts/1"] = () => ({ body: {} });
  let account: OrderRequest["account"] = { key: newKey(), url: undefined, email: null };
  const run = (email: string | null) =>
    order({ account, email, onAccount: (next) => (account = next) }).catch(() => undefined);
  await run("a@shop.example");
  await run("a@shop.example");
  await run("b@shop.example");
  const told = requests.filter(({ path, payload }) => path.startsWith("/account") && payload !== undefined);
  expect(told).toEqual([
    { path: "/account", payload: { termsOfServiceAgreed: true, contact: ["mailto:a@shop.example"] } },
    { path: "/accounts/1", payload: { contact: ["mailto:b@shop.example"] } },
  ]);
});

test("a renewal names the former certificate, unless the CA does not support that", async () => {
  replaced["/new-order"] = (payload) =>
    payload?.replaces === undefined
      ? (USUAL["/new-order"] as () => Sent)()
      : { status: 409, body: { type: `${ERROR}alreadyReplaced`, detail: "replaced" } };
  await order({ replaces: OWN.certificatePem }).catch(() => undefined);
  const orders = requests.flatMap(({ path, payload }) => (path === "/new-order" ? [payload] : []));
  expect(orders).toEqual([
    { identifiers: [{ type: "dns", value: NAME }], replaces: expect.stringMatching(/^[\w-]+\.[\w-]+$/) },
    { identifiers: [{ type: "dns", value: NAME }] },
  ]);
});

test("when the CA wants a renewal", async () => {
  const { replaces } = await (async () => {
    await order({ replaces: OWN.certificatePem }).catch(() => undefined);
    return requests.find(({ path }) => path === "/new-order")?.payload as { replaces: string };
  })();
  const window = { start: "2026-11-01T00:00:00Z", end: "2026-11-03T00:00:00Z" };
  replaced[`/renewal/${replaces}`] = () => ({
    headers: { "Retry-After": "21600" },
    body: { suggestedWindow: window, explanationURL: "https://ca.example/why" },
  });
  expect(await askRenewal(caOptions(), OWN.certificatePem)).toEqual({
    window: { start: Date.parse(window.start), end: Date.parse(window.end), explanation: "https://ca.example/why" },
    retryAfterMs: 21_600_000,
  });
  replaced[`/renewal/${replaces}`] = () => ({ body: { suggestedWindow: { start: "soon" } } });
  expect(await askRenewal(caOptions(), OWN.certificatePem)).toEqual({ window: undefined, retryAfterMs: undefined });
});
