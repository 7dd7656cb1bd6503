/** Which responses are compressed for which requests, and what the client sees of that. */
import { type Coding, isCompressibleType } from "@paceline/wire/content-coding";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { passes, responseFieldsThatPass } from "../http1/forward-policy.js";
import { RequestHead } from "../http1/request-head.js";
import { ResponseHead } from "../http1/response-head.js";
import { type CodingRule, matchTag, putCoding, putVary, variesUnsent, verdictOf } from "./coded-head.js";

const RULE: CodingRule = {
  codings: ["zstd", "br", "gzip"],
  isCompressible: isCompressibleType,
  minBytes: 1024,
  secrets: false,
};
const LIMITS = { maxHeadBytes: 65_536, maxHeaderFields: 100, maxBodyBytes: 1 << 20 };
const CLIENT = { hasCertificate: false, hasRoom: true };

function request(fields = "Accept-Encoding: gzip", line = "GET / HTTP/1.1"): RequestHead {
  const head = new RequestHead(LIMITS);
  const bytes = Buffer.from(`${line}\r\nHost: a\r\n${fields === "" ? "" : `${fields}\r\n`}\r\n`, "latin1");
  expect(head.parse(bytes, 0, bytes.length)).toBe(bytes.length);
  return head;
}

function response(fields: string, status = "200 OK", toHead = false): ResponseHead {
  const head = new ResponseHead();
  const bytes = Buffer.from(`HTTP/1.1 ${status}\r\n${fields}\r\n\r\n`, "latin1");
  expect(head.parse(bytes, 0, bytes.length, toHead)).toBe(bytes.length);
  return head;
}

/** Returns the lines that are forwarded. */
function linesOf(head: ResponseHead): string[] {
  const { fields } = head;
  const lines: string[] = [];
  for (let i = 0; i < fields.count; i++) {
    if (!passes(responseFieldsThatPass(head.status), fields.kinds[i] as number)) continue;
    lines.push(Buffer.from(head.bytes.subarray(fields.nameStart(i), fields.valueEnd(i))).toString("latin1"));
  }
  return [
    ...lines,
    ...Buffer.from(head.added ?? [])
      .toString("latin1")
      .split("\r\n")
      .slice(0, -1),
  ];
}

const HTML = "Content-Type: text/html";
/** The result of verdictOf: a coding, "plain" if another client could get a coding, or "untouched". */
const said = (response: ResponseHead, asked: RequestHead, rule = RULE, client = CLIENT) => {
  const verdict = verdictOf(response, asked, rule, client);
  return verdict === undefined ? "untouched" : (verdict.coding ?? "plain");
};

describe("a response", () => {
  it.each<[string, string, string]>([
    [HTML, "200 OK", "gzip"],
    [`${HTML}; charset=utf-8\r\nContent-Length: 1024`, "200 OK", "gzip"],
    [`${HTML}\r\nContent-Length: 1023`, "200 OK", "untouched"],
    [`${HTML}\r\nContent-Length: 0`, "200 OK", "untouched"],
    ["Content-Type: TEXT/Event-Stream", "200 OK", "gzip"],
    ["Content-Type: application/problem+json", "404 Not Found", "gzip"],
    [HTML, "500 Oh", "gzip"],
    ["Content-Type: image/png", "200 OK", "untouched"],
    ["X-Type: text/html", "200 OK", "untouched"],
    [HTML, "204 No Content", "untouched"],
    [HTML, "205 Reset Content", "untouched"],
    [`${HTML}\r\nContent-Range: bytes 0-1/5`, "206 Partial Content", "untouched"],
    [`${HTML}\r\nContent-Range: bytes */5`, "416 Range Not Satisfiable", "untouched"],
    [HTML, "304 Not Modified", "untouched"],
    [`${HTML}\r\nContent-Encoding: br`, "200 OK", "untouched"],
    [`${HTML}\r\ncontent-encoding: identity`, "200 OK", "untouched"],
    [`${HTML}\r\nCache-Control: max-age=1, No-Transform`, "200 OK", "untouched"],
    [`${HTML}\r\nCache-Control: max-age=1\r\nCache-Control: no-transform`, "200 OK", "untouched"],
    [`${HTML}\r\nContent-Digest: sha-256=:AA==:`, "200 OK", "untouched"],
    [`${HTML}\r\nRepr-Digest: sha-256=:AA==:`, "200 OK", "untouched"],
    [`${HTML}\r\nContent-MD5: AA==`, "200 OK", "untouched"],
    [`${HTML}\r\nTrailer: X-Sum, content-digest`, "200 OK", "untouched"],
    [`${HTML}\r\nTrailer: X-Sum\r\ntrailer: ETag`, "200 OK", "untouched"],
    [`${HTML}\r\nTrailer: X-ETag, X-Sum`, "200 OK", "gzip"],
    [`${HTML}\r\nX-Trail: Digest`, "200 OK", "gzip"],
    [`${HTML}\r\nSet-Cookie: a=b`, "200 OK", "plain"],
    [`${HTML}\r\nCache-Control: max-age=1, private`, "200 OK", "plain"],
    [`${HTML}\r\nCache-Control: private="x"`, "200 OK", "plain"],
    [`${HTML}\r\nCache-Control: privately`, "200 OK", "gzip"],
  ])("%j %s: %s", (fields, status, verdict) => {
    expect(said(response(fields, status), request())).toBe(verdict);
  });
});

describe("a request", () => {
  const ACCEPT = "Accept-Encoding: gzip";
  it.each<[string, string]>([
    ["", "plain"],
    ["Accept-Encoding:", "plain"],
    ["Accept-Encoding: gzip, deflate, br, zstd", "br"],
    ["Accept-Encoding: gzip, br", "br"],
    ["Accept-Encoding: br;q=0.1, gzip;q=0.2", "gzip"],
    ["Accept-Encoding: br;q=0\r\nAccept-Encoding: gzip", "gzip"],
    ["Accept-Encoding: *", "br"],
    ["Accept-Encoding: *;q=0", "plain"],
    ["Accept-Encoding: identity, gzip;q=0.5", "plain"],
    ["Accept-Encoding: deflate", "plain"],
    ["Accept-Encoding: identity;q=0", "plain"],
    [`${ACCEPT}\r\nRange: bytes=0-1`, "plain"],
    [`${ACCEPT}\r\nCookie: a=b`, "plain"],
    [`${ACCEPT}\r\nAuthorization: Bearer x`, "plain"],
    [`${ACCEPT}\r\nCookie: a=b\r\nSec-Fetch-Site: same-origin`, "gzip"],
    [`${ACCEPT}\r\nCookie: a=b\r\nSec-Fetch-Site: none`, "gzip"],
    [`${ACCEPT}\r\nCookie: a=b\r\nSec-Fetch-Site: same-site`, "plain"],
    [`${ACCEPT}\r\nCookie: a=b\r\nSec-Fetch-Site: cross-site`, "plain"],
    [`${ACCEPT}\r\nCookie: a=b\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site`, "plain"],
    [`${ACCEPT}\r\nSec-Fetch-Site: cross-site`, "gzip"],
  ])("%j: %s", (fields, verdict) => {
    expect(said(response(HTML), request(fields))).toBe(verdict);
  });

  it("gets the coding that needs the least CPU if the length is known, else the one that needs the least memory", () => {
    const all = request("Accept-Encoding: gzip, br, zstd");
    expect(said(response(`${HTML}\r\nContent-Length: 5000`), all)).toBe("zstd");
    expect(said(response(HTML), all)).toBe("br");
  });

  it("of HTTP/1.0 gets the body as it is", () => {
    expect(said(response(HTML), request("Accept-Encoding: gzip", "GET / HTTP/1.0"))).toBe("plain");
  });

  it("with a client's certificate counts as one with a cookie", () => {
    expect(said(response(HTML), request(), RULE, { ...CLIENT, hasCertificate: true })).toBe("plain");
  });

  it("beyond the limit of bodies at once gets the body as it is", () => {
    expect(said(response(HTML), request(), RULE, { ...CLIENT, hasRoom: false })).toBe("plain");
  });

  it("with a cookie is like any other if the operator says so", () => {
    const rule = { ...RULE, secrets: true };
    expect(said(response(`${HTML}\r\nSet-Cookie: a=b`), request(`${ACCEPT}\r\nCookie: a=b`), rule)).toBe("gzip");
  });

  it("that refuses an uncompressed body gets no coding that others would not get, so that no other response has to vary", () => {
    const refusing = request("Accept-Encoding: gzip, identity;q=0");
    expect(said(response(HTML), refusing)).toBe("gzip");
    expect(said(response("Content-Type: image/png"), refusing)).toBe("untouched");
    expect(said(response(`${HTML}\r\nContent-Length: 1`), refusing)).toBe("untouched");
  });

  it("never gets a coding that is not allowed, or that the client has not named", () => {
    const names = ["br", "zstd", "gzip", "identity", "*", "deflate"] as const;
    const items = fc
      .shuffledSubarray([...names])
      .chain((list) => fc.tuple(...list.map((name) => fc.constantFrom("", ";q=0", ";q=0.5").map((q) => name + q))));
    const some = fc.shuffledSubarray<Coding>(["br", "zstd", "gzip"]);
    fc.assert(
      fc.property(items, some, (list, codings) => {
        const verdict = said(response(HTML), request(`Accept-Encoding: ${list.join(", ")}`), { ...RULE, codings });
        if (verdict === "plain") return;
        expect(codings).toContain(verdict);
        const own = list.find((item) => item.startsWith(verdict));
        expect(own ?? list.find((item) => item.startsWith("*"))).toBeDefined();
        expect(own?.endsWith(";q=0")).not.toBe(true);
      }),
    );
  });
});

describe("the head of a compressed response", () => {
  it("has the coding, a weak ETag, and no length and ranges", () => {
    const head = response(`${HTML}\r\nETag: "a"\r\nContent-Length: 5000\r\nAccept-Ranges: bytes\r\nX-Y: z`);
    putCoding(head, "br");
    expect(linesOf(head)).toEqual([HTML, "X-Y: z", "Content-Encoding: br", 'ETag: W/"a"']);
    expect([head.framing, head.contentLength]).toEqual(["chunked", -1]);
  });

  it("keeps a weak ETag, and lines that were added before", () => {
    const head = response('ETag: W/"a"');
    head.added = Buffer.from("Set-Cookie: s=1\r\n");
    putCoding(head, "gzip");
    expect(linesOf(head)).toEqual(['ETag: W/"a"', "Set-Cookie: s=1", "Content-Encoding: gzip"]);
  });

  it("keeps an ETag without quotes, which is invalid", () => {
    const head = response("ETag: abc");
    putCoding(head, "gzip");
    expect(linesOf(head)).toEqual(["ETag: abc", "Content-Encoding: gzip"]);
  });

  it("is the same for HEAD, without a body", () => {
    const fields = `${HTML}\r\nETag: "a"\r\nContent-Length: 5000`;
    const toHead = response(fields, "200 OK", true);
    const toGet = response(fields);
    for (const head of [toHead, toGet]) putCoding(head, "gzip");
    expect(linesOf(toHead)).toEqual(linesOf(toGet));
    expect([toHead.framing, toHead.contentLength]).toEqual(["none", -1]);
  });

  it.each([
    ["X: y", ["X: y", "Vary: Accept-Encoding"]],
    ["Vary: Origin\r\nX: y\r\nvary: Cookie", ["X: y", "Vary: Origin, Cookie, Accept-Encoding"]],
    ["Vary: Origin, accept-encoding", ["Vary: Origin, accept-encoding"]],
    ["Vary: *", ["Vary: *"]],
  ])("%j says that it varies, once", (fields, lines) => {
    const head = response(fields);
    putVary(head);
    expect(linesOf(head)).toEqual(lines);
  });
});

it.each<[string, string, string]>([
  ['ETag: "a"', 'W/"a"', 'ETag: W/"a"'],
  ['ETag: "a"', '"b", W/"a"', 'ETag: W/"a"'],
  ['ETag: "a"', '"a"', 'ETag: "a"'],
  ['ETag: "a"', 'W/"a", "a"', 'ETag: "a"'],
  ['ETag: "a"', "*", 'ETag: "a"'],
  ['ETag: W/"a"', 'W/"a"', 'ETag: W/"a"'],
])("a 304 with %s to If-None-Match: %s has %s", (etag, asked, expected) => {
  const head = response(etag, "304 Not Modified");
  matchTag(head, request(`If-None-Match: ${asked}`));
  expect(linesOf(head)).toEqual([expected]);
});

it.each([
  ['W/"a"', -1],
  ['"a"', 5000],
])("a 304 to If-None-Match: %s has the length %i", (asked, expected) => {
  const head = response('ETag: "a"\r\nContent-Length: 5000', "304 Not Modified");
  expect(head.contentLength).toBe(5000);
  matchTag(head, request(`If-None-Match: ${asked}`));
  expect(head.contentLength).toBe(expected);
});

it.each<[string, boolean]>([
  ['ETag: "a"', true],
  [HTML, true],
  ["Content-Type: image/png", false],
  ["Content-Encoding: br", false],
  ["Cache-Control: no-transform", false],
  ["Content-Digest: sha-256=:AA==:", false],
])("a 304 with %s varies like its 200: %s", (fields, expected) => {
  expect(variesUnsent(response(fields, "304 Not Modified"), RULE)).toBe(expected);
});
