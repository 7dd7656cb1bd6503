/** The target of the upstream request. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { upstreamTarget } from "./request-head.js";

test.each([
  ["/", "", "/"],
  ["/a?b=/../c", "/base", "/base/a?b=/../c"],
  ["//a//b", "", "//a//b"],
  ["/a.b/..c/.d", "/base", "/base/a.b/..c/.d"],
  ["http://any.example/a?b", "", "/a?b"],
  ["HTTPS://any.example", "/base", "/base/"],
  ["http://any.example?b", "", "/?b"],
])("%s with the base path %j is %s", (target, basePath, expected) => {
  expect(upstreamTarget(target, "GET", basePath)).toBe(expected);
});

test.each([
  "a",
  "",
  "*",
  "ftp://a/b",
  "http:///a",
  "/..",
  "/a/./b",
  "/%2e%2e/a",
  "/a/.%2E",
  "/a%2f..%5cb",
  "/a\\..\\b",
  "/a b",
  "/a\u0100",
])("%j has none", (target) => expect(upstreamTarget(target, "GET", "/base")).toBeUndefined());

test("OPTIONS * is forwarded", () => {
  expect(upstreamTarget("*", "OPTIONS", "/base")).toBe("*");
});

test("a forwarded path never leaves the base path", () => {
  const part = fc.constantFrom("/", ".", "..", "%2e", "%2F", "%5c", "\\", "a", "?", "//");
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
      const target = upstreamTarget(`/${parts.join("")}`, "GET", "/base");
      if (target === undefined) return;
      const path = (target.split("?")[0] as string).replaceAll(/%2f|%5c/gi, "/");
      expect(new URL(path, "http://a").pathname).toMatch(/^\/base(\/|$)/);
    }),
  );
});
