/** The exports of a module and its start and stop, as a user of a whole fleet sees them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { get } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";

const UNCLEAR = `export default (a, b) => (b.end === undefined ? new Response("as fetch") : b.end("as node"));\n`;

/** Writes a line for each action into a file. */
const NOTING = `
import { appendFileSync } from "node:fs";
const note = (what) => appendFileSync("notes", \`\${what} \${process.env.PACELINE_GENERATION}\\n\`);
export const start = async () => note("start");
export const stop = async () => {
  await new Promise((resolve) => setTimeout(resolve, 50));
  note("stop");
};
export default () => new Response("hello");
`;

describe.each(RUNTIMES)("apps on %s", (runtime) => {
  const once = testOnce(runtime);

  once("a function that can be either: the start says so", async () => {
    const project = await Project.make({ runtime, instances: 1, app: UNCLEAR });
    const refused = await project.startDetached();
    expect(refused.code).toBe(1);
    expect(refused.output).toContain("name its second parameter info or res");
    expect(refused.output).toContain('say which with the key style: "fetch" or style: "node" of its pool');
    await project.nothingLeft();
  });

  once("a start() that fails ends the start with its error", async () => {
    const app = `export function start() { throw new Error("no database"); }\nexport default () => new Response();\n`;
    const project = await Project.make({ runtime, instances: 1, app });
    const started = await project.startDetached();
    expect(started.code).toBe(1);
    expect(started.output).toContain("no database");
    await project.nothingLeft();
  });

  test("a reload waits for the new start() before the old stop(); a pool's style decides", async () => {
    const unclear = (style: string) => ({ app: "./unclear.js", style, routes: [`/${style}/`] });
    const styles = runtime === "bun" ? { fetch: unclear("fetch"), node: unclear("node") } : {};
    const pools = { web: { app: "./app.js", routes: ["/"] }, ...styles };
    const files = { "unclear.js": UNCLEAR };
    const project = await startFleet({ runtime, instances: 1, app: NOTING, files, config: { pools } });
    for (const style of Object.keys(styles)) expect((await get(project.port, `/${style}/`)).body).toBe(`as ${style}`);
    expect((await project.reload("web")).code).toBe(0);
    expect((await get(project.port)).body).toBe("hello");
    expect((await project.stop()).code).toBe(0);
    const notes = readFileSync(join(project.folder, "notes"), "utf8").trim().split("\n");
    expect(notes).toEqual(["start 1", "start 2", "stop 1", "stop 2"]);
  });
});
