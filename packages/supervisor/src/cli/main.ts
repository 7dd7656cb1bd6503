/** The entry point of the command. Checks the runtime's version before it loads anything that needs a newer one. */

// This file uses old syntax and no imports, so that an outdated Node can still print the message.
const required = [20, 19];
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const tooOld = major < (required[0] as number) || (major === required[0] && minor < (required[1] as number));

// Set by the launcher for this process only; instances inherit the rest of the environment.
delete process.env.BUN_FEATURE_FLAG_DISABLE_ASYNC_TRANSPILER;

if (tooOld) {
  console.error(`paceline: needs Node ${required.join(".")} or newer; this is Node ${process.versions.node}`);
  process.exitCode = 1;
} else {
  import("./program.js").then((program) => program.run(process.argv.slice(2)));
}

export {};
