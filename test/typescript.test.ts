/** The languages of an app are the same on both runtimes, and need no folder for temporary files. */
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Project, RUNTIMES } from "./support/fleet.js";
import { get } from "./support/raw-http.js";

const IS_MAIN = 'if (require.main !== module) throw new Error("it is not the main module");\n';
const SAYS = "export default { fetch: () => new Response(word) };\n";
/** By pool: the app's file and its response. */
const APPS: Record<string, { file: string; text: string; says: string }> = {
  alias: { file: "app.js", text: `import { word } from "@lib/word";\n${SAYS}`, says: "of an alias" },
  extension: { file: "ext.js", text: `import { word } from "./lib/word.ts";\n${SAYS}`, says: "of an alias" },
  common: {
    file: "common.cjs",
    text: `const { word } = require("@lib/word");\n${IS_MAIN}module.exports = { fetch: () => new Response(word) };\n`,
    says: "of an alias",
  },
  view: {
    file: "view.tsx",
    text: `const h = (name: string, _: unknown, text: string) => name + text;\nconst word: string = <p>!</p>;\n${SAYS}`,
    says: "p!",
  },
  loose: {
    file: "loose.ts",
    text: `import { h, Word } from "./lib/view";\nvoid h;\n${IS_MAIN}const word: string = Word;\n${SAYS}`,
    says: "b?",
  },
};

describe.each(RUNTIMES)("apps in TypeScript on %s", (runtime) => {
  test("find aliased paths, other extensions and JSX from every kind of file, without a folder for temporary files", async () => {
    const pools = Object.entries(APPS).map(([name, { file }]) => [
      name,
      { app: `./${file}`, instances: 1, routes: [`/${name}/`] },
    ]);
    const options = { jsx: "react", jsxFactory: "h", paths: { "@lib/*": ["./lib/*"] } };
    const project = await Project.make({
      runtime,
      app: "",
      config: { pools: Object.fromEntries(pools) },
      env: { TMPDIR: "/nonexistent" },
      files: {
        "lib/word.ts": 'export const word: string = "of an alias";\n',
        "lib/view.tsx":
          "export const h = (name: string, _: unknown, text: string) => name + text;\nexport enum Name { b = 1 }\nexport const Word = <b>?</b> as unknown as string;\n",
        // As compilers accept it, with comments and commas.
        "tsconfig.json": `{ // paths\n "compilerOptions": ${JSON.stringify(options).slice(0, -1)}, } }\n`,
        ...Object.fromEntries(Object.values(APPS).map(({ file, text }) => [file, text])),
      },
    });
    await project.start();
    for (const [name, { says }] of Object.entries(APPS))
      expect((await get(project.port, `/${name}/`)).body, name).toBe(says);
    // Compiled files stay in the run directory while their generation is in use; Bun makes none.
    if (runtime === "node") expect((await project.reload()).code).toBe(0);
    const kept = () => {
      const paths = readdirSync(project.runDir, { recursive: true, encoding: "utf8" });
      return paths.flatMap((path) => /[^/]+\.cache$/.exec(path) ?? []).sort();
    };
    const names = Object.keys(APPS).map((name) => `${name}-2.cache`);
    await expect.poll(kept).toEqual(runtime === "node" ? names.sort() : []);
  });
});
