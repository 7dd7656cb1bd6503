/** Node's rules that decide whether a file is an ES module or CommonJS. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isCommonJs } from "./main-module.js";

const folder = mkdtempSync(join(tmpdir(), "paceline-main-"));
beforeAll(() => {
  for (const type of ["module", "commonjs"]) {
    mkdirSync(join(folder, type, "bin"), { recursive: true });
    writeFileSync(join(folder, type, "package.json"), JSON.stringify({ type }));
  }
  // The nearest package.json decides, even without a type.
  writeFileSync(join(folder, "package.json"), "{}");
});
afterAll(() => rmSync(folder, { recursive: true }));

const REQUIRES = 'require("./app").listen(3000);\n';

test.each<[string, string, boolean]>([
  ["app.cjs", 'import "./x.js";\n', true],
  ["app.mjs", REQUIRES, false],
  ["app.js", REQUIRES, true],
  ["www", `#!/usr/bin/env node\n${REQUIRES}`, true],
  ["module/app.js", REQUIRES, false],
  ["module/bin/www.cjs", REQUIRES, true],
  ["commonjs/bin/www", `#!/usr/bin/env node\n${REQUIRES}`, true],
  ["app.js", 'import express from "express";\n', false],
  ["app.js", "export const port = 3000;\n", false],
  ["app.js", "if (import.meta.main) listen();\n", false],
  ["app.js", `#!/usr/bin/env node\nimport"./x.js";\n`, false],
  ["app.js", `const text = \`\nimport express from "express";\n\`;\n${REQUIRES}`, true],
  ["app.js", `/*\nexport default app\n*/\nimport("./x.js");\n${REQUIRES}`, true],
])("%s with %j", (name, source, expected) => {
  expect(isCommonJs(join(folder, name), source)).toBe(expected);
});
