import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { hasPathAliases } from "./tsconfig.js";

test("the nearest tsconfig.json decides whether an app's imports are mapped to other paths", () => {
  const folder = mkdtempSync(join(tmpdir(), "pl-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "app/src"), { recursive: true });
  const app = join(folder, "app/src/app.ts");
  const outer = join(folder, "tsconfig.json");
  const inner = join(folder, "app/tsconfig.json");
  writeFileSync(outer, '{ "compilerOptions": { "paths": { "@/*": ["./*"] } } }');
  expect(hasPathAliases(app)).toBe(true);
  for (const [text, expected] of [
    ['{ "compilerOptions": { "strict": true } }', false],
    ['{ "extends": "../../tsconfig.json" }', true],
    ["", false],
  ] as const) {
    writeFileSync(inner, text);
    expect(hasPathAliases(app), text).toBe(expected);
  }
});
