/** Runs `paceline` commands one after another in one process, each as if in a process of its own: its folder, environment, output and status. */
import process from "node:process";

// The bundle that the command runs, too.
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
  // What works in a project's folder is ended with that project.
  process.chdir("/");
  process.send({ id, code: Number(process.exitCode ?? 0), output });
}

let last = Promise.resolve();
process.on("message", (command) => {
  last = last.then(() => perform(command));
});
process.on("disconnect", () => process.exit(0));
process.send({ id: 0 });
