import { expect, test } from "vitest";
import { FieldKind } from "../http1/field-table.js";
import { RequestHead } from "../http1/request-head.js";
import { ResponseHead } from "../http1/response-head.js";
import { asRequestForFile, FileRedirect, type NamedFile, takeNamedFile, targetOf } from "./file-redirect.js";
import { Router } from "./router.js";

function head(...lines: string[]): ResponseHead {
  const parsed = new ResponseHead();
  const bytes = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  expect(parsed.parse(bytes, 0, bytes.length, false)).toBe(bytes.length);
  return parsed;
}

const roots = [
  { folder: "/srv/files", path: "/protected/" },
  { folder: "/", path: "/all/" },
];
const internal = { router: new Router<never>([]), roots: roots.slice(0, 1) };

test.each<[NamedFile["header"], string, string | undefined]>([
  ["X-Accel-Redirect", "/protected/a.txt?b=1", "/protected/a.txt?b=1"],
  ["X-Accel-Redirect", "/protected/a%20b%2Fc", "/protected/a%20b%2Fc"],
  ["X-Accel-Redirect", "/protected/a b#\xc3\xa9", "/protected/a%20b%23%C3%A9"],
  ["X-Accel-Redirect", "protected/a.txt", undefined],
  ["X-Accel-Redirect", "http://example.com/", undefined],
  ["X-Accel-Redirect", "", undefined],
  ["X-Sendfile", "/srv/files/a b%20?#\xc3\xa9.txt", "/protected/a%20b%2520%3F%23%C3%A9.txt"],
  ["X-Sendfile", "/srv/files/x/../a.txt", "/protected/a.txt"],
  ["X-Sendfile", "/srv/files/../secret", undefined],
  ["X-Sendfile", "/srv/filesystem/a.txt", undefined],
  ["X-Sendfile", "a.txt", undefined],
])("%s: %s is %s", (header, value, target) => {
  expect(targetOf({ header, value }, internal)?.toString("latin1")).toBe(target);
});

test("the root folder can be named", () => {
  const target = targetOf({ header: "X-Sendfile", value: "/etc/motd" }, { ...internal, roots: roots.slice(1) });
  expect(target?.toString("latin1")).toBe("/all/etc/motd");
});

const app = [
  ...["HTTP/1.1 200 OK", "content-type: image/app", "Content-Length: 5", "ETag: app", "Last-Modified: app"],
  ...[
    "Set-Cookie: a=1",
    "set-cookie: b=2",
    "Content-Disposition: attachment",
    "Cache-Control: private",
    "Vary: Cookie",
  ],
  ...["X-ACCEL-redirect: /p/a", "X-Sendfile: /p/b", "Content-Encoding: gzip", "X-Own: x"],
];
const file = ["Content-Type: text/plain", "ETag: file", "Vary: Accept-Encoding", "Cache-Control: public"];

/** Names and values of forwarded fields. */
function lines(merged: ResponseHead): string[] {
  return Buffer.from(merged.bytes).toString("latin1").trimEnd().split("\r\n");
}

test("the fields that name a file are removed, and the first of them counts", () => {
  const response = head(...app);
  expect(takeNamedFile(response)).toEqual({ header: "X-Accel-Redirect", value: "/p/a" });
  expect(takeNamedFile(head("HTTP/1.1 200 OK", "X-Sendfile: /p/b", "X-Accel-Redirect: /p/a"))?.header).toBe(
    "X-Sendfile",
  );
  expect(takeNamedFile(head("HTTP/1.1 200 OK", "X-Accel-Buffering: no", "X-Sendfile2: no"))).toBeUndefined();
});

test.each([
  [
    "HTTP/1.1 206 Partial Content",
    [
      ...["ETag: file", "Vary: Accept-Encoding", "content-type: image/app", "Set-Cookie: a=1", "set-cookie: b=2"],
      ...["Content-Disposition: attachment", "Cache-Control: private", "Vary: Cookie", "X-Own: x"],
    ],
  ],
  [
    "HTTP/1.1 304 Not Modified",
    [
      ...["Content-Type: text/plain", "ETag: file", "Vary: Accept-Encoding"],
      ...["Set-Cookie: a=1", "set-cookie: b=2", "Cache-Control: private", "Vary: Cookie"],
    ],
  ],
  ["HTTP/1.1 404 Not Found", [...file, "Set-Cookie: a=1", "set-cookie: b=2"]],
])("%s keeps the app's own fields where they fit", (line, expected) => {
  const response = head(...app);
  const named = takeNamedFile(response) as NamedFile;
  const redirect = new FileRedirect(response, named);
  const merged = redirect.merge(head(line, ...file, "Content-Length: 7"));
  expect(lines(merged)).toEqual([line, ...expected]);
  expect(merged.contentLength).toBe(7);
});

test("an app that sets a strong ETag and a date has evaluated the conditions itself", () => {
  const named: NamedFile = { header: "X-Accel-Redirect", value: "/p/a" };
  const from = (...own: string[]) => new FileRedirect(head("HTTP/1.1 200 OK", ...own), named);
  const [tag, date] = ['ETag: "app"', "Last-Modified: app"];
  expect([
    from(tag).areConditionsDone,
    from(date).areConditionsDone,
    from(`ETag: W/"app"`, date).areConditionsDone,
  ]).toEqual([false, false, false]);
  const own = from(tag, date);
  expect(own.areConditionsDone).toBe(true);
  expect(lines(own.merge(head("HTTP/1.1 206 Partial Content", ...file, "Last-Modified: file")))).toEqual([
    ...["HTTP/1.1 206 Partial Content", "Content-Type: text/plain", "Vary: Accept-Encoding", "Cache-Control: public"],
    ...[tag, date],
  ]);
  expect(lines(own.merge(head("HTTP/1.1 200 OK", ...file, "Content-Encoding: br")))).toContain("ETag: file");
  expect(lines(own.merge(head("HTTP/1.1 416 Range Not Satisfiable", ...file)))).toContain("ETag: file");
});

test.each([
  [false, "Range: bytes=1-", ["if-none-match", "if-modified-since", "range"]],
  [true, "Range: bytes=1-", ["range"]],
  [true, 'If-Range: "a"\r\nRange: bytes=1-', []],
])(
  "conditions that the app has judged (%s) do not go to the pool, nor a range that depends on one: %s",
  (areConditionsDone, more, passing) => {
    const conditions = 'If-None-Match: "a"\r\nIf-Modified-Since: Sat, 01 Jan 2022 00:00:00 GMT';
    const bytes = Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\n${conditions}\r\n${more}\r\n\r\n`);
    const request = new RequestHead({ maxHeaderFields: 20 } as never);
    request.parse(bytes, 0, bytes.length);
    asRequestForFile(request, areConditionsDone);
    const { fields } = request;
    const left = Array.from({ length: fields.count }, (_, at) => at).filter((at) => fields.kinds[at] !== FieldKind.HOP);
    const names = left.map((at) => bytes.toString("latin1", fields.nameStart(at), fields.nameEnd(at)).toLowerCase());
    expect(names.filter((name) => /^if-|range/.test(name))).toEqual(passing);
  },
);

test("a multipart response keeps its type, and an empty type of the app is ignored", () => {
  const parts = "Content-Type: multipart/byteranges; boundary=x";
  const named: NamedFile = { header: "X-Sendfile", value: "/" };
  const typed = new FileRedirect(head("HTTP/1.1 200 OK", "Content-Type: image/app"), named);
  expect(lines(typed.merge(head("HTTP/1.1 206 Partial Content", parts)))).toContain(parts);
  const untyped = new FileRedirect(head("HTTP/1.1 200 OK", "Content-Type:"), named);
  expect(lines(untyped.merge(head("HTTP/1.1 200 OK", "Content-Type: text/plain")))).toContain(
    "Content-Type: text/plain",
  );
});

test.each([
  [200, "Set-Cookie: s=1\r\n"],
  [304, undefined],
])(
  "the balancer's own lines go from the app's response to a %i of the file, unless a cache would store them",
  (status, lines) => {
    const named = head("HTTP/1.1 200 OK");
    named.added = lines === undefined ? Buffer.from("Set-Cookie: s=1\r\n") : Buffer.from(lines);
    const redirect = new FileRedirect(named, { header: "X-Sendfile", value: "/srv/files/a" });
    expect(named.added).toBeUndefined();
    const { added } = redirect.merge(head(`HTTP/1.1 ${status} OK`));
    expect(added?.toString()).toBe(lines);
  },
);
