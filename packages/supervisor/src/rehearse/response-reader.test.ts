/** Responses with every framing, in one piece and in several. */
import { expect, test } from "vitest";
import { ResponseReader } from "./response-reader.js";

const HEAD = "HTTP/1.1 200 OK\r\n";

const RESPONSES: [what: string, bytes: string, expected: object][] = [
  ["a length", `${HEAD}Content-Length: 5\r\n\r\nhello`, { status: 200, body: "hello", keepsAlive: true }],
  ["no body", `${HEAD}Content-Length: 0\r\n\r\n`, { status: 200, body: "" }],
  [
    "chunks",
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n3;x=1\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n`,
    { body: "hello" },
  ],
  ["204", "HTTP/1.1 204 No Content\r\n\r\n", { status: 204, keepsAlive: true }],
  [
    "an interim response",
    `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${HEAD}Content-Length: 2\r\n\r\nok`,
    { body: "ok" },
  ],
  ["an event stream", `${HEAD}Content-Type: text/event-stream\r\n\r\n`, { status: 200, keepsAlive: false }],
  [
    "cookies",
    `${HEAD}Set-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n`,
    { cookies: ["a=1", "b=2"] },
  ],
  ["close", `${HEAD}Connection: close\r\nContent-Length: 0\r\n\r\n`, { keepsAlive: false, announcesClose: true }],
  [
    "Keep-Alive",
    `${HEAD}Keep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n`,
    { keepsAlive: true, announcesClose: true },
  ],
  ["HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", { keepsAlive: false, announcesClose: true }],
];

test.each(RESPONSES)("%s, in one piece and byte by byte", (_, text, expected) => {
  const bytes = Buffer.from(text);
  const whole = new ResponseReader("GET");
  expect(whole.push(bytes)).toBe("done");
  expect(whole).toMatchObject(expected);
  const parts = new ResponseReader("GET");
  const states = [...bytes].map((byte) => parts.push(Buffer.from([byte])));
  expect(states.indexOf("done")).toBe(bytes.length - 1);
  expect(parts).toMatchObject(expected);
  // Every piece except the last is not the end.
  expect(new ResponseReader("GET").push(bytes.subarray(0, -1))).toBe("more");
});

test("a body without a length ends with the connection, any other is cut off if the connection closes", () => {
  const open = new ResponseReader("GET");
  expect([open.push(Buffer.from(`${HEAD}\r\nhel`)), open.push(Buffer.from("lo")), open.end()]).toEqual([
    "more",
    "more",
    "done",
  ]);
  expect(open.body).toBe("hello");
  const cut = new ResponseReader("GET");
  expect([cut.push(Buffer.from(`${HEAD}Content-Length: 5\r\n\r\nhel`)), cut.end()]).toEqual(["more", "broken"]);
});

test("a response to HEAD has no body", () => {
  expect(new ResponseReader("HEAD").push(Buffer.from(`${HEAD}Content-Length: 5\r\n\r\n`))).toBe("done");
});

test.each([
  "SSH-2.0-OpenSSH_9\r\n\r\n",
  `${HEAD}Content-Length: five\r\n\r\n`,
  `${HEAD}Transfer-Encoding: chunked\r\n\r\nhello\r\n`,
  `${HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n`,
  `${HEAD}X: ${"x".repeat(70_000)}`,
])("%#: is not a response", (text) => {
  expect(new ResponseReader("GET").push(Buffer.from(text))).toBe("broken");
});
