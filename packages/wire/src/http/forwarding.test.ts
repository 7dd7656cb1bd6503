import { readFileSync } from "node:fs";
import { expect, it, test } from "vitest";
import { CLIENT_FIELDS, clientFieldRule, HOP_BY_HOP_FIELDS } from "./forwarding.js";

const CELLS = { made: "made anew | made anew", trusted: "dropped | passes", never: "dropped | dropped" } as const;

test("docs/security.md has the same table as the code", () => {
  const page = readFileSync(new URL("../../../../docs/security.md", import.meta.url), "utf8");
  const rows = [...page.matchAll(/^\| `([a-z0-9*-]+)` \| (.+) \|$/gm)].map(([, name, cells]) => [name, cells]);
  expect(rows).toEqual(Object.entries(CLIENT_FIELDS).map(([name, rule]) => [name, CELLS[rule]]));
});

test("what the page says about disguised names holds", () => {
  const names = ["x_forwarded_for", "x_real-ip", "content_length", "transfer_encoding", "proxy_connection"];
  for (const name of [...names, "x.forwarded.for", "x~real!ip", "script_name", "path'info"]) {
    expect(clientFieldRule(name), name).toBe("never");
  }
  expect(clientFieldRule("api_key")).toBeUndefined();
});

it("has the same hop-by-hop fields as the Python server, which also leaves out PEP 3333's `trailers`", () => {
  const source = readFileSync(new URL("../../../server/python/paceline/response_fields.py", import.meta.url), "utf8");
  const list = /HOP_BY_HOP = frozenset\(\s*\(([^)]*)\)/.exec(source)?.[1] ?? "";
  const names = [...list.matchAll(/"([^"]+)"/g)].map(([, name]) => name);
  expect(names.filter((name) => name !== "trailers").sort()).toEqual([...HOP_BY_HOP_FIELDS].sort());
});
