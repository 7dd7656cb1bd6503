/** Which trailers are forwarded. */
import { areTrailerLines } from "@paceline/wire";
import { expect, test } from "vitest";
import { BodyReader } from "./body-framing.js";
import { passingTrailers } from "./forward-policy.js";

test("trailers about the exact bytes are not forwarded if the balancer compressed the body", () => {
  const received = Buffer.from('Content-Digest: d\r\nETag: "a"\r\nX-Sum: 1\r\n');
  expect(passingTrailers(received, true)?.toString()).toBe("X-Sum: 1\r\n");
  expect(passingTrailers(received)?.length).toBe(received.length);
});

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
  ["N: 1\r\n".repeat(32), "N: 1\r\n".repeat(32)],
  ["N: 1\r\n".repeat(33), undefined],
  ["", undefined],
])("of %j, %j are forwarded", (received, passing) => {
  expect(passingTrailers(Buffer.from(received))?.toString()).toBe(passing);
});

test("whatever trailers a client may send are valid on a lane; otherwise an instance would close it", () => {
  let accepted = 0;
  for (let byte = 0; byte < 256; byte++)
    for (const line of [`x${String.fromCharCode(byte)}: 1`, `x: a${String.fromCharCode(byte)}b`]) {
      const reader = new BodyReader();
      reader.keepsTrailers = true;
      reader.begin("chunked", 0);
      const bytes = Buffer.from(`0\r\n${line}\r\n\r\n`, "latin1");
      reader.read(bytes, 0, bytes.length, { onBody: () => {} });
      const kept = reader.isComplete ? reader.takeTrailers() : undefined;
      const passing = kept && passingTrailers(kept);
      if (passing === undefined) continue;
      accepted++;
      expect(areTrailerLines(Buffer.from(passing).toString("latin1"))).toBe(true);
    }
  expect(accepted).toBeGreaterThan(250);
});
