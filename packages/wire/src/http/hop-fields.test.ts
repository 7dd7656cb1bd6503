import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { HOP_BY_HOP_FIELDS } from "./hop-fields.js";

it("has the fields of one hop that Python's server has, which leaves out PEP 3333's `trailers` too", () => {
  const source = readFileSync(new URL("../../../server/python/paceline/response_fields.py", import.meta.url), "utf8");
  const list = /HOP_BY_HOP = frozenset\(\s*\(([^)]*)\)/.exec(source)?.[1] ?? "";
  const names = [...list.matchAll(/"([^"]+)"/g)].map(([, name]) => name);
  expect(names.filter((name) => name !== "trailers").sort()).toEqual([...HOP_BY_HOP_FIELDS].sort());
});
