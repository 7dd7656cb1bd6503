/** A native addon for Node on Bun: the start explains what to do, even if the app loads the addon only on a request. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { ask, Program, type RuntimeName } from "./harness.js";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** Creates an app with a package whose addon names its ABI version, like one compiled for Node 20. */
function appThat(uses: string): string {
  const folder = mkdtempSync(join(tmpdir(), "pl-addon-"));
  folders.push(folder);
  const release = join(folder, "node_modules/database/build/Release");
  mkdirSync(release, { recursive: true });
  writeFileSync(join(release, "database.node"), "no ELF, but: node_register_module_v115");
  const open = 'exports.open = () => require("./build/Release/database.node");\n';
  writeFileSync(join(folder, "node_modules/database/index.js"), open);
  const app = join(folder, "app.mjs");
  writeFileSync(app, `import { open } from "database";\n${uses}\n`);
  return app;
}

const SERVES = 'export default { fetch: () => new Response("served") };';
const ADVICE =
  /database\.node: it is a native addon for Node, which Bun cannot load: set runtime: "node" for this pool/;

const CASES: [string, RuntimeName, string, "serves" | RegExp][] = [
  ["when it is loaded", "bun", `open();\n${SERVES}`, ADVICE],
  ["with a request", "bun", "export default { fetch: () => new Response(open()) };", ADVICE],
  ["if it can, and does without", "bun", `try { open(); } catch {}\n${SERVES}`, "serves"],
  ["when it is loaded", "node", `open();\n${SERVES}`, /database\.node: (invalid ELF header|file too short)/],
  [
    "with a request",
    "node",
    `export default { fetch: (request) => new Response(request.url.endsWith("open") ? open() : "served") };`,
    "serves",
  ],
];

it.each(CASES)("an app that opens it %s, on %s", async (when, runtime, uses, outcome) => {
  const app = appThat(uses);
  const socket = join(app, "../served.sock");
  const program = new Program(runtime, [app, "--socket", socket]);
  try {
    if (outcome === "serves") {
      await program.line(/^listening/);
      expect((await ask({ path: socket }, "/")).body).toBe("served");
      return;
    }
    // A problem found before the app runs is a usage error; a failure of the app is an error of the app.
    expect((await program.exited).code).toBe(when === "with a request" ? 2 : 1);
    expect(program.output.join("\n")).toMatch(outcome);
  } finally {
    await program.end();
  }
});
