/** How a shim judges a command's responses. */

import { problemOfResponse } from "@paceline/wire";
import { expect, test } from "vitest";

test.each([
  ["", "more"],
  ["HTTP/1.1 20", "more"],
  ["HTTP/1.1 200 OK\r\n", undefined],
  ["HTTP/1.0 204\r\nA: b", undefined],
  ["HTTP/1.1 302 Found\r\n", undefined],
  ["HTTP/1.1 404 Not Found\r\n", "GET /ready returned 404"],
  ["HTTP/1.1 503 \r\n", "GET /ready returned 503"],
  ["HTTP/1.1 100 Continue\r\n", "GET /ready returned 100"],
  ["SSH-2.0-OpenSSH\r\n", "GET /ready returned something other than HTTP/1.1"],
  ["HTTP/1.1 2000 OK\r\n", "GET /ready returned something other than HTTP/1.1"],
  ["x".repeat(5000), "GET /ready returned something other than HTTP/1.1"],
])("the response %j", (heard, verdict) => {
  expect(problemOfResponse(heard, "/ready")).toBe(verdict);
});
