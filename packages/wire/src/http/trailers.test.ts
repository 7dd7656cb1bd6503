import { expect, test } from "vitest";
import { areTrailerLines, mayBeTrailer, takesTrailers, trailersOf } from "./trailers.js";

test.each([
  ["trailers", true],
  ["gzip, Trailers;q=0.5", true],
  ["trailers;q=0", false],
  ["gzip, trailers; q=0.000 , x", false],
  ["xtrailers", false],
  ["", false],
])("TE: %s", (te, takes) => {
  expect(takesTrailers(te)).toBe(takes);
});

test.each([
  ["a:\r\n", true],
  ["a: 1\r\nX-Two:  caf\xe9 \r\n", true],
  ["", false],
  ["a: 1", false],
  ["a: 1\n", false],
  ["a : 1\r\n", false],
  [": 1\r\n", false],
  ["a\r\n", false],
  ["a: 1\r\n\r\n", false],
  ["a: 1\r\n b: 2\r\n", false],
  ["a: 1\rb: 2\r\n", false],
  ["a: 1\nb: 2\r\n", false],
  ["a: \0\r\n", false],
  // Its low byte ends a line.
  ["a: \u010a\r\n", false],
])("%j are lines: %s", (text, are) => {
  expect(areTrailerLines(text)).toBe(are);
});

test("names and values of lines", () => {
  expect(trailersOf("A: 1\r\nb:  2:3 \r\nc:\r\n")).toEqual([
    ["A", "1"],
    ["b", "2:3"],
    ["c", ""],
  ]);
  expect(trailersOf("")).toEqual([]);
});

test.each([
  ["X-Sum", true],
  ["ETag", true],
  ["grpc-status", true],
  ["Server-Timing", true],
  ["X-Author", true],
  ["X-Username-Hash", true],
  ["Host", false],
  ["h_o_s_t", true],
  ["X_Real_IP", false],
  ["Remote-User", false],
  ["REMOTE_USER", false],
  ["Remote.Groups", false],
  ["X-Remote-User", false],
  ["X-Auth-Request-User", false],
  ["X-Authenticated-User", false],
  ["X-WebAuth-User", false],
  ["X-User", false],
  ["X-Forwarded-User", false],
  ["X-Client-Cert-Subject", false],
  ["X-Goog-IAP-JWT-Assertion", false],
  ["Authentication-Info", false],
  ["Proxy-Authorization", false],
])("%s may be a trailer: %s", (name, may) => {
  expect(mayBeTrailer(name)).toBe(may);
});
