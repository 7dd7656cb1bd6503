import { expect, test } from "vitest";
import { problemForBun } from "./load.js";

test("a path that Bun cannot import is named with its character", () => {
  expect(problemForBun("/srv/a?b/app.mjs")).toContain("with ? in its path");
  expect(problemForBun("/srv/a\\b/app.mjs")).toContain("with \\ in its path");
  expect(problemForBun("/srv/a b#%ä/app.mjs")).toBeUndefined();
});
