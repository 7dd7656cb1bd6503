/** The client's Location for an upstream's Location. */
import { expect, test } from "vitest";
import { rewriteLocation } from "./response-head.js";

const passage = (upstream: string, prefix = "", clientProtocol = "http") => {
  const url = new URL(upstream);
  return { upstream: url, basePath: url.pathname.replace(/\/+$/, ""), prefix, clientProtocol };
};

test.each([
  ["https://old.example", "https://old.example/a?b#c", "/a?b#c"],
  ["https://old.example", "https://OLD.example:443/a", "/a"],
  ["https://old.example", "https://old.example", "/"],
  ["https://old.example", "//old.example/a", "/a"],
  ["https://old.example", "http://old.example/a", "/a"],
  ["http://old.example", "https://old.example/a", "https://old.example/a"],
  ["https://old.example", "https://old.example:8443/a", "https://old.example:8443/a"],
  ["https://old.example", "https://other.example/a", "https://other.example/a"],
  ["https://old.example", "https://old.example//evil.example/a", "/.//evil.example/a"],
  ["https://old.example", "/a", "/a"],
  ["https://old.example", "a/b", "a/b"],
  ["https://old.example", "?page=2", "?page=2"],
  ["https://old.example", "", ""],
  ["https://old.example", "http://[", "http://["],
  ["https://old.example", "mailto:a@old.example", "mailto:a@old.example"],
  ["https://old.example/base", "https://old.example/base/a", "/a"],
  ["https://old.example/base", "/base", "/"],
  ["https://old.example/base", "/based", "/based"],
  ["https://old.example/base", "https://old.example/elsewhere", "https://old.example/elsewhere"],
])("from %s: %s becomes %s", (upstream, location, expected) => {
  expect(rewriteLocation(location, passage(upstream))).toBe(expected);
});

test.each([
  ["https://old.example", "/a", "/shop/a"],
  ["https://old.example", "https://old.example/a", "/shop/a"],
  ["https://old.example", "/shop/a", "/shop/a"],
  ["https://old.example", "/shopping", "/shop/shopping"],
  ["https://old.example/base", "/base/a?b", "/shop/a?b"],
])("behind /shop, from %s: %s becomes %s", (upstream, location, expected) => {
  expect(rewriteLocation(location, passage(upstream, "/shop"))).toBe(expected);
});

test("an upstream over http that was told about https may use https in its Location", () => {
  const location = "https://old.example/a";
  expect(rewriteLocation(location, passage("http://old.example", "", "https"))).toBe("/a");
});
