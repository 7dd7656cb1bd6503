import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CLIENT_FIELDS, clientFieldRule } from "./client-fields.js";

const CELLS = { made: "made anew | made anew", trusted: "dropped | passes", never: "dropped | dropped" } as const;

test("docs/security.md has the table as the code does", () => {
  const page = readFileSync(new URL("../../../../docs/security.md", import.meta.url), "utf8");
  const rows = [...page.matchAll(/^\| `([a-z*-]+)` \| (.+) \|$/gm)].map(([, name, cells]) => [name, cells]);
  expect(rows).toEqual(Object.entries(CLIENT_FIELDS).map(([name, rule]) => [name, CELLS[rule]]));
});

test("what the page says of disguised names holds", () => {
  const names = ["x_forwarded_for", "x_real-ip", "content_length", "transfer_encoding", "proxy_connection"];
  for (const name of [...names, "x.forwarded.for", "x~real!ip", "script_name", "path'info"]) {
    expect(clientFieldRule(name), name).toBe("never");
  }
  expect(clientFieldRule("api_key")).toBeUndefined();
});
