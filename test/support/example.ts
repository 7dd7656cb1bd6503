/** Starts an example with the command in examples/README.md. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Project, ROOT, type RuntimeName } from "./fleet.js";
import { signal } from "./processes.js";

/** Starts the example on a separate port; processes left over at the end fail the test. */
export async function startExample(
  name: string,
  runtime: RuntimeName,
  env: NodeJS.ProcessEnv = {},
  more: string[] = [],
): Promise<Project> {
  const readme = readFileSync(join(ROOT, "examples/README.md"), "utf8");
  const command = new RegExp(`^- \`([^\`]*examples/${name}(?:[/ ][^\`]*)?)\`: `, "m").exec(readme)?.[1];
  if (command === undefined) throw new Error(`examples/README.md has no command for ${name}`);
  const project = await Project.make({ runtime, app: "", env });
  const place = ["--listen", `127.0.0.1:${project.port}`, "--run-dir", `${project.folder}/.paceline`, ...more];
  project.startInForeground(
    [...wordsOf(command, name === THROUGH_NPM && runtime === "bun"), ...place, "--runtime", runtime],
    ROOT,
  );
  // The command may have to build first.
  await project.ready(60_000);
  return project;
}

/**
 * The example that is started through npm, on Bun; for the others, the tests run what `npm start` runs after the build, because npm takes
 * half a second of CPU time.
 */
const THROUGH_NPM = "express";

/** Returns the words of the command, up to its further options. */
function wordsOf(command: string, isThroughNpm: boolean): string[] {
  const words = command.split(" ");
  if (isThroughNpm || !command.startsWith("npm start ")) return words.includes("--") ? words : [...words, "--"];
  return ["sh", "scripts/start.sh", ...words.slice(2).filter((word) => word !== "--")];
}

/** Like Ctrl-C in a terminal, which sends a signal to all processes. */
export async function endExample(project: Project): Promise<void> {
  signal(-project.foregroundPid, "SIGINT");
  await project.exit();
  await project.nothingLeft();
}
