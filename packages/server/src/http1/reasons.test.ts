import { readFileSync } from "node:fs";
import { REASONS } from "@paceline/wire/reasons";
import { describe, expect, it } from "vitest";

const PYTHON = new URL("../../python/paceline/", import.meta.url);

describe("reason phrases", () => {
  it("have the names of RFC 9110", () => {
    expect(REASONS).toMatchObject({
      413: "Content Too Large",
      422: "Unprocessable Content",
      416: "Range Not Satisfiable",
    });
  });

  it.each(["connection.py", "response.py"])("are the same in %s", (name) => {
    const text = readFileSync(new URL(name, PYTHON), "utf8");
    const found = [...text.matchAll(/\b([1-5]\d\d)(?:: "|\s)([A-Z][A-Za-z -]+?)["\r\\]/g)];
    expect(found.length).toBeGreaterThan(0);
    for (const [, status, reason] of found) expect(reason).toBe(REASONS[Number(status)]);
  });
});
