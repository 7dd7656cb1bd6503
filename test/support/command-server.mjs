/**
 * Runs `paceline` commands one after another in one process, each as if it had its own process: with its own folder, environment, output
 * and status.
 */
import process from "node:process";

// The same bundle that the command runs.
const { run } = await import("../../packages/supervisor/dist/programs/cli/program.js");

let output = [];
const write =
  (stream) =>
  (text, ...rest) => {
    output.push([stream, `${text}`]);
    rest.find((each) => typeof each === "function")?.();
    return true;
  };
process.stdout.write = write("stdout");
process.stderr.write = write("stderr");
// Each command listens for the end of its output.
process.setMaxListeners(0);
process.stdout.setMaxListeners(0);
process.stderr.setMaxListeners(0);

async function perform({ id, cwd, env, args }) {
  output = [];
  process.exitCode = undefined;
  try {
    process.chdir(cwd);
    for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name];
    Object.assign(process.env, env);
    await run(args);
  } catch (error) {
    output.push(["stderr", `${error.stack}\n`]);
    process.exitCode = 1;
  }
  // Processes whose working directory is in a project's folder are killed after that project's test.
  process.chdir("/");
  process.send({ id, code: Number(process.exitCode ?? 0), output });
}

let last = Promise.resolve();
process.on("message", (command) => {
  last = last.then(() => perform(command));
});
process.on("disconnect", () => process.exit(0));
process.send({ id: 0 });
