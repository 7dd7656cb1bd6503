import { expect, test } from "vitest";
import { problemForBun } from "./load.js";

test("the error for a path that Bun cannot import names the character", () => {
  expect(problemForBun("/srv/a?b/app.mjs")).toContain("with ? in its path");
  expect(problemForBun("/srv/a\\b/app.mjs")).toContain("with \\ in its path");
  expect(problemForBun("/srv/a b#%ä/app.mjs")).toBeUndefined();
});
