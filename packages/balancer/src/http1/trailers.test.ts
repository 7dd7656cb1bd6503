/** Which trailers pass. */
import { expect, test } from "vitest";
import { passingTrailers } from "./forward-policy.js";

test.each([
  ["Server-Timing: app;dur=5\r\n", "Server-Timing: app;dur=5\r\n"],
  ["grpc-status:0\r\nGrpc-Message:  a b \r\n", "grpc-status: 0\r\nGrpc-Message: a b\r\n"],
  ['ETag: "a"\r\nContent-Length: 5\r\nX-Checksum: ff\r\n', 'ETag: "a"\r\nX-Checksum: ff\r\n'],
  ["Transfer-Encoding: chunked\r\n", undefined],
  ["Content_Length: 5\r\n", undefined],
  ["Host: a\r\nConnection: close\r\nTrailer: a\r\nTE: trailers\r\n", undefined],
  ["Authorization: Basic x\r\nSet-Cookie: a=b\r\nCookie: a=b\r\n", undefined],
  [
    "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nx_forwarded_for: 1.2.3.4\r\n",
    undefined,
  ],
  ["X-Accel-Redirect: /secret\r\nX-Request-Id: 1\r\n", undefined],
  ["Empty:\r\n", "Empty: \r\n"],
  ["N: 1\r\n".repeat(40), "N: 1\r\n".repeat(32)],
  ["", undefined],
])("of %j pass %j", (received, passing) => {
  expect(passingTrailers(Buffer.from(received))?.toString()).toBe(passing);
});
