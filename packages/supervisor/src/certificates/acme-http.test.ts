/** What follows from a CA's problems, and the signatures that the CA gets. */
import { createHmac, createPublicKey, verify } from "node:crypto";
import { describe, expect, it, test } from "vitest";
import {
  CaConnection,
  cleanText,
  externalBinding,
  jws,
  problemKindOf,
  problemText,
  publicJwk,
  retryAfterOf,
} from "./acme-http.js";
import { newKey } from "./x509.js";

test.each([
  [429, "rateLimited", "limited"],
  [503, "rateLimited", "limited"],
  [429, undefined, "limited"],
  [500, "serverInternal", "unreachable"],
  [502, undefined, "unreachable"],
  [404, undefined, "unreachable"],
  [302, undefined, "unreachable"],
  [400, "badNonce", "unreachable"],
  [400, "accountDoesNotExist", "account"],
  [403, "unauthorized", "account"],
  [400, "externalAccountRequired", "account"],
  [400, "rejectedIdentifier", "refused"],
  [403, "caa", "refused"],
  [400, "malformed", "refused"],
] as const)("%d %s is %s", (status, type, kind) => {
  expect(problemKindOf(status, type)).toBe(kind);
});

test.each([
  [undefined, undefined],
  ["120", 120_000],
  ["0", 0],
  ["-1", undefined],
  ["soon", undefined],
  ["Thu, 01 Jan 1970 00:01:00 GMT", 60_000],
  ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
])("Retry-After: %s", (value, ms) => {
  expect(retryAfterOf(value, 0)).toBe(ms);
});

test("a problem is one bounded line, with its cause", () => {
  expect(problemText(undefined)).toBe(undefined);
  expect(problemText({ detail: "x" })).toBe(undefined);
  const inner = { type: "urn:ietf:params:acme:error:dns", detail: "no\n\u001b[31m A  record" };
  expect(problemText({ type: "urn:ietf:params:acme:error:compound", detail: "several", subproblems: [inner] })).toEqual(
    {
      type: "urn:ietf:params:acme:error:compound",
      detail: "several: no [31m A record",
    },
  );
  expect(problemText({ type: "urn:ietf:params:acme:error:caa" })?.detail).toBe("caa");
  expect(cleanText("x".repeat(1_000))).toHaveLength(300);
});

const decode = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString()) as unknown;

describe("signatures", () => {
  const key = newKey();

  it("are valid for ES256", async () => {
    const { sign } = await import("node:crypto");
    const made = jws({ alg: "ES256", nonce: "n", url: "u", jwk: publicJwk(key) }, { a: 1 }, (data) =>
      sign("sha256", data, { key, dsaEncoding: "ieee-p1363" }),
    ) as Record<"protected" | "payload" | "signature", string>;
    const signature = Buffer.from(made.signature, "base64url");
    expect(signature).toHaveLength(64);
    const data = Buffer.from(`${made.protected}.${made.payload}`);
    expect(verify("sha256", data, { key: createPublicKey(key), dsaEncoding: "ieee-p1363" }, signature)).toBe(true);
    expect(decode(made.payload)).toEqual({ a: 1 });
  });

  it("have an empty payload for a read", () => {
    expect(jws({}, undefined, () => Buffer.alloc(1))).toMatchObject({ payload: "" });
  });

  it("bind an account to one that the CA knows", () => {
    const hmacKey = Buffer.from("secret key").toString("base64url");
    const made = externalBinding({ keyId: "id", hmacKey }, "https://ca.example/new", key) as Record<string, string>;
    expect(decode(made.protected ?? "")).toEqual({ alg: "HS256", kid: "id", url: "https://ca.example/new" });
    expect(decode(made.payload ?? "")).toEqual(publicJwk(key));
    const expected = createHmac("sha256", "secret key").update(`${made.protected}.${made.payload}`).digest("base64url");
    expect(made.signature).toBe(expected);
  });

  it("list the members of the key in the order of its thumbprint", () => {
    expect(Object.keys(publicJwk(key))).toEqual(["crv", "kty", "x", "y"]);
  });
});

it("fails within its deadline, and when it is aborted", async () => {
  const options = { directory: "https://192.0.2.1/dir", ca: undefined, userAgent: "test" };
  const late = new CaConnection({ ...options, signal: new AbortController().signal, timeoutMs: 20 });
  await expect(late.directory()).rejects.toMatchObject({ kind: "unreachable" });
  const ended = new CaConnection({ ...options, signal: AbortSignal.abort() });
  await expect(ended.directory()).rejects.toMatchObject({ kind: "unreachable" });
  const plain = new CaConnection({
    ...options,
    directory: "http://127.0.0.1/dir",
    signal: new AbortController().signal,
  });
  await expect(plain.directory()).rejects.toMatchObject({ message: expect.stringContaining("is not an https URL") });
});
