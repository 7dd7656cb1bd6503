/** How a WSGI instance handles the bytes of a request: environ, bodies, and refusals. */
import { expect, test as sequential } from "vitest";
import { CHUNK_LINES } from "../../wire/test/support/chunk-lines.js";
import { bodyOf, PythonInstance } from "./python-instance.js";

/** Concurrent, because each has a separate instance and mostly waits. */
const test = sequential.concurrent;

/** Returns the app's environ, as Python prints its values. */
async function environ(instance: PythonInstance, head: string): Promise<Record<string, string>> {
  const response = await instance.says(`${head}Connection: close\r\n\r\n`);
  const lines = bodyOf(response).split("\n");
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
}

test("the environ says what was requested, by whom, where and how", async (context) => {
  const instance = await PythonInstance.start(context);
  const direct = await environ(
    instance,
    "GET /environ?a=%20b&c HTTP/1.1\r\nHost: shop.example:8080\r\nAccept: a\r\nAccept: b\r\n",
  );
  expect(direct).toMatchObject({
    REQUEST_METHOD: "'GET'",
    SCRIPT_NAME: "''",
    PATH_INFO: "'/environ'",
    QUERY_STRING: "'a=%20b&c'",
    SERVER_NAME: "'shop.example'",
    SERVER_PORT: "'8080'",
    SERVER_PROTOCOL: "'HTTP/1.1'",
    HTTP_HOST: "'shop.example:8080'",
    HTTP_ACCEPT: "'a, b'",
    REMOTE_ADDR: "''",
    "wsgi.url_scheme": "'http'",
    "wsgi.multithread": "False",
    "wsgi.multiprocess": "True",
    "wsgi.run_once": "False",
    "wsgi.version": "(1, 0)",
  });
  const forwarded = await environ(
    instance,
    "GET /environ HTTP/1.1\r\nHost: internal\r\nX-Forwarded-For: 1.2.3.4, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n" +
      "X-Forwarded-Host: shop.example\r\nX-Forwarded-Prefix: /shop\r\nCookie: a=1\r\nCookie: b=2\r\n",
  );
  expect(forwarded).toMatchObject({
    REMOTE_ADDR: "'1.2.3.4'",
    "wsgi.url_scheme": "'https'",
    HTTP_HOST: "'shop.example'",
    SERVER_NAME: "'shop.example'",
    SERVER_PORT: "'443'",
    SCRIPT_NAME: "'/shop'",
    PATH_INFO: "'/environ'",
    HTTP_COOKIE: "'a=1; b=2'",
  });
  const ipv6 = await environ(instance, "GET /environ HTTP/1.1\r\nHost: [::1]:8080\r\n");
  expect(ipv6).toMatchObject({ SERVER_NAME: "'[::1]'", SERVER_PORT: "'8080'" });
  const bare = await environ(instance, "GET /environ HTTP/1.1\r\nHost: [::1]\r\n");
  expect(bare).toMatchObject({ SERVER_NAME: "'[::1]'", SERVER_PORT: "'80'" });
  for (const [host, name, port] of [
    ["a:", "a", "80"],
    ["[::1]:", "[::1]", "80"],
    ["a:00080", "a", "80"],
  ]) {
    const odd = await environ(instance, `GET /environ HTTP/1.1\r\nHost: ${host}\r\n`);
    expect(odd, host).toMatchObject({ SERVER_NAME: `'${name}'`, SERVER_PORT: `'${port}'` });
  }
});

test("recurring fields are read the same each time, and duplicate ones are rejected again", async (context) => {
  const instance = await PythonInstance.start(context);
  const ask = async (accept: string) =>
    (await environ(instance, `GET /environ HTTP/1.1\r\nHost: a\r\nAccept: ${accept}\r\nAccept:b\r\n`)).HTTP_ACCEPT;
  // More than are cached.
  for (let n = 0; n < 140; n++) expect(await ask(`text/${n % 135}`)).toBe(`'text/${n % 135}, b'`);
  for (let n = 0; n < 2; n++) expect(await instance.get("/", "Host: a\r\n")).toMatch(/^HTTP\/1.1 400 /);
  expect(await instance.says("GET / HTTP/1.1\r\nHost: a\r\nAccept : b\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
});

test("paths are decoded to bytes as text; whole URLs and * are understood", async (context) => {
  const instance = await PythonInstance.start(context);
  const path = async (target: string, method = "GET") =>
    (await environ(instance, `${method} ${target} HTTP/1.1\r\nHost: a\r\n`)).PATH_INFO;
  expect(await path("/%65nviron/")).toBe("'/environ/'");
  expect(await path("/environ/?x=%41")).toBe("'/environ/'");
  const whole = await environ(instance, "GET http://other.example/environ?q HTTP/1.1\r\nHost: a\r\n");
  expect(whole).toMatchObject({ PATH_INFO: "'/environ'", QUERY_STRING: "'q'", HTTP_HOST: "'other.example'" });
  expect(await instance.get("*", "", "OPTIONS")).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*hello$/);
  expect(await instance.get("/%", "")).toMatch(/hello$/);
});

test("REQUEST_URI and RAW_URI are the target as it was sent; SCRIPT_NAME and the prefixes of a table are decoded", async (context) => {
  const app = "wsgi_app:application";
  const instance = await PythonInstance.start(context, { wsgi: { "/": app, "/caf\u00e9/": app, "/a%20\u20ac": app } });
  for (const [target, prefix, uri, script, path] of [
    ["/environ/?x=%41", "", "/environ/?x=%41", "''", "'/environ/'"],
    ["/%65nviron/", "", "/%65nviron/", "''", "'/environ/'"],
    ["//environ?", "", "//environ?", "''", "'//environ'"],
    ["http://b/%65nviron?q", "", "/%65nviron?q", "''", "'/environ'"],
    ["/%65nviron?a", "/shop/", "/shop/%65nviron?a", "'/shop'", "'/environ'"],
    ["/environ", "/caf%C3%A9%2f/a", "/caf%C3%A9%2f/a/environ", "'/caf\u00c3\u00a9//a'", "'/environ'"],
    ["/caf%C3%A9/environ", "", "/caf%C3%A9/environ", "'/caf\u00c3\u00a9'", "'/environ'"],
    ["/a%20%E2%82%AC/environ", "/x", "/x/a%20%E2%82%AC/environ", "'/x/a \u00e2\\x82\u00ac'", "'/environ'"],
  ] as const) {
    const field = prefix === "" ? "" : `X-Forwarded-Prefix: ${prefix}\r\n`;
    const got = await environ(instance, `GET ${target} HTTP/1.1\r\nHost: a\r\n${field}`);
    // The app writes in UTF-8.
    const read = (key: string) => Buffer.from(got[key] ?? "", "latin1").toString("utf8");
    const found = ["REQUEST_URI", "RAW_URI", "SCRIPT_NAME", "PATH_INFO"].map(read);
    expect(found, target).toEqual([`'${uri}'`, `'${uri}'`, script, path]);
  }
});

test("fields that could be mistaken for others never reach the app", async (context) => {
  const instance = await PythonInstance.start(context);
  const seen = await environ(
    instance,
    "GET /environ HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 6.6.6.6\r\nProxy: http://evil\r\nX-Real: ok\r\n",
  );
  expect(seen).toMatchObject({ HTTP_X_REAL: "'ok'", REMOTE_ADDR: "''" });
  expect(seen).not.toHaveProperty("HTTP_PROXY");
  expect(seen).not.toHaveProperty("HTTP_X_FORWARDED_FOR");
});

test("an ambiguous or malformed request is rejected, and the connection closed", async (context) => {
  const instance = await PythonInstance.start(context);
  const refused: [string, number][] = [
    ["GET / HTTP/1.1\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400],
    ["GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400],
    ["G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["GET path HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505],
    ["GET / FTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405],
    ["GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n", 400],
    ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400],
    ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400],
    ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na", 400],
    ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400],
    ["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501],
    ["POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400],
    ["POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417],
    ["POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400],
    ["POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400],
    ["POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \n\r\nabc\r\n0\r\n\r\n", 400],
    ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000001\r\n\r\n", 413],
    ["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413],
    [`GET /${"a".repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
    [`GET / HTTP/1.1\r\nHost: a\r\n${"X: a\r\n".repeat(200)}\r\n`, 431],
  ];
  for (const [request, status] of refused) {
    expect(await instance.says(request), request.slice(0, 80)).toMatch(
      new RegExp(`^HTTP/1\\.1 ${status} [^\\r]*\\r\\n[\\s\\S]*\\r\\nConnection: close\\r\\n\\r\\n`),
    );
  }
  for (const [name, body, isTaken] of CHUNK_LINES) {
    const request = `POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${body}`;
    expect(await instance.says(request), name).toMatch(isTaken ? /^HTTP\/1\.1 200 [\s\S]*abc$/ : /^HTTP\/1\.1 400 /);
  }
  expect(await instance.says("\r\nGET / HTTP/1.0\r\n\r\n")).toMatch(/hello$/);
  expect(instance.output).not.toContain("Traceback");
});

test("an incomplete head gets 408", async (context) => {
  const instance = await PythonInstance.start(context, {}, { headTimeoutMs: 200 });
  expect(await instance.says("GET / HTTP/1.1\r\nHost: a\r\nX: ")).toMatch(/^HTTP\/1\.1 408 /);
});

test("bodies: small, large, in chunks, with the app's own Content-Length", async (context) => {
  const instance = await PythonInstance.start(context);
  const body = "0123456789".repeat(200_000);
  const echo = (fields: string, sent: string) => instance.get("/echo", fields, "POST", sent);
  expect(bodyOf(await echo("Content-Length: 5\r\n", "small"))).toBe("small");
  expect(bodyOf(await echo(`Content-Length: ${body.length}\r\n`, body)) === body).toBe(true);
  const chunks = `5;x=y\r\nhello\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\nTrailer: x\r\n\r\n`;
  const chunked = await echo("Transfer-Encoding: chunked\r\n", chunks);
  expect(chunked).toContain(`\r\nX-Length: ${body.length + 5}\r\n`);
  expect(bodyOf(chunked) === `hello${body}`).toBe(true);
  expect(bodyOf(await echo("", ""))).toBe("");
});

test("wsgi.input reads lines, and ends where the body ends", async (context) => {
  const instance = await PythonInstance.start(context);
  const lines = "first\nsecond\nthird\n";
  const long = `${"x".repeat(70_000)}\n${"y".repeat(70_000)}\nend`;
  for (const [framing, sent] of [
    [`Content-Length: ${lines.length}\r\n`, lines],
    ["Transfer-Encoding: chunked\r\n", `${lines.length.toString(16)}\r\n${lines}\r\n0\r\n\r\n`],
  ] as const) {
    expect(bodyOf(await instance.get("/lines", framing, "POST", sent))).toBe(
      "[b'first\\n', b'seco', b'nd\\n', b'third\\n']",
    );
  }
  const response = await instance.get("/iterated", `Content-Length: ${long.length}\r\n`, "POST", long);
  expect(bodyOf(response)).toBe("[70001, 70001, 3]");
});

test("Expect: 100-continue gets its response when the app begins to read, and none if the app does not", async (context) => {
  const instance = await PythonInstance.start(context);
  const head = (path: string) =>
    `POST ${path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n`;
  const asked = instance.wire().send(head("/echo"));
  await asked.gets(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  asked.send("body");
  await asked.gets(/100 Continue\r\n\r\nHTTP\/1\.1 200 OK[\s\S]*body$/);
  const refused = instance.wire().send(head("/ignores-body"));
  expect(await refused.closed()).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\nConnection: close\r\n\r\nnot read$/);
  const chunked = instance.wire().send(head("/echo").replace("Content-Length: 4", "Transfer-Encoding: chunked"));
  await chunked.gets(/100 Continue/);
  chunked.send("4\r\nbody\r\n0\r\n\r\n");
  await chunked.gets(/body$/);
});

test("a body that the app leaves unread is never mistaken for the next request", async (context) => {
  const instance = await PythonInstance.start(context);
  const smuggled = "GET /environ HTTP/1.1\r\nHost: a\r\n\r\n";
  const small = instance
    .wire()
    .send(`POST /ignores-body HTTP/1.1\r\nHost: a\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`);
  await small.gets(/not read$/);
  small.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  expect(await small.closed()).toMatch(/not readHTTP\/1\.1 200 OK\r\n[\s\S]*hello$/);
  const large = instance.wire().send("POST /ignores-body HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
  large.send(smuggled.repeat(200_000 / smuggled.length + 1).slice(0, 200_000));
  await large.gets(/not read$/);
  large.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  expect(await large.closed()).toMatch(/not readHTTP\/1\.1 200 OK\r\n[\s\S]*hello$/);
});

test("a client that disconnects in the middle of its body only ends the request, which the app never gets", async (context) => {
  const instance = await PythonInstance.start(context);
  const wire = instance.wire().send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\nabc");
  wire.destroy();
  expect(await instance.get("/")).toMatch(/hello$/);
  await instance.supervisor.hears("stats", (it) => it.requestsTotal === 1 && it.errorsTotal === 0);
});

test("a body larger than what is held in memory is complete, and can be read again from its beginning", async (context) => {
  const instance = await PythonInstance.start(context);
  const sent = "0123456789abcdef".repeat(60_000);
  for (const [framing, body] of [
    [`Content-Length: ${sent.length}\r\n`, sent],
    ["Transfer-Encoding: chunked\r\n", `${sent.length.toString(16)}\r\n${sent}\r\n0\r\n\r\n`],
  ] as const) {
    expect(bodyOf(await instance.get("/reads-again", framing, "POST", body))).toBe(`${sent.length} True`);
  }
});

test("several callables by prefix: the longest matching one responds, on whole segments", async (context) => {
  const app = "wsgi_app:application";
  const instance = await PythonInstance.start(context, { wsgi: { "/api/": app, "/api/v2": app, "/environ": app } });
  const at = async (target: string) => {
    const { SCRIPT_NAME, PATH_INFO } = await environ(instance, `GET ${target} HTTP/1.1\r\nHost: a\r\n`);
    return [SCRIPT_NAME, PATH_INFO];
  };
  expect(await at("/api/environ")).toEqual(["'/api'", "'/environ'"]);
  expect(await at("/api/v2/environ")).toEqual(["'/api/v2'", "'/environ'"]);
  expect(await at("/environ/environ")).toEqual(["'/environ'", "'/environ'"]);
  expect(await instance.get("/apiary")).toMatch(/^HTTP\/1\.1 404 /);
  expect(await instance.get("/api")).toMatch(/hello$/);
  const behind = await environ(instance, "GET /api/environ HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: /shop\r\n");
  expect(behind).toMatchObject({ SCRIPT_NAME: "'/shop/api'", PATH_INFO: "'/environ'" });
});

test.for([
  ["one request at a time", {}],
  ["threads", { threads: 3 }],
] as const)("wsgiref's validator finds nothing in any of these exchanges: %s", async ([, spec], context) => {
  const instance = await PythonInstance.start(context, { wsgi: "wsgi_app:checked", ...spec });
  const get = (path: string) => instance.get(path, "Cookie: a=1\r\nX-Forwarded-Proto: https\r\n");
  for (const path of ["/", "/environ?x=1", "/%E2%82%AC", "/blocks", "/empty", "/write", "/closes", "/file"]) {
    expect(await get(path), path).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  }
  expect(await get("/not-modified")).toMatch(/^HTTP\/1\.1 304 /);
  expect(await get("/nothing")).toMatch(/^HTTP\/1\.1 204 /);
  expect(await instance.get("/", "", "HEAD")).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n$/);
  expect(await instance.get("*", "", "OPTIONS")).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  const body = "line\n".repeat(20_000);
  for (const path of ["/echo", "/iterated"]) {
    const known = await instance.get(path, `Content-Length: ${body.length}\r\n`, "POST", body);
    expect(known, path).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    const chunks = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    const chunked = await instance.get(path, "Transfer-Encoding: chunked\r\n", "POST", chunks);
    expect(chunked, path).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  }
  expect(await instance.get("/changes-its-mind")).toMatch(/^HTTP\/1\.1 500 Oops\r\n/);
  expect(instance.output).not.toMatch(/AssertionError|Warning/);
});
