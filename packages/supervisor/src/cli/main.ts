/** The command's entry: sees that the runtime is new enough before anything that needs it is loaded. */

// Old syntax and no import, so that a Node that is too old comes as far as the message.
const required = [20, 19];
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const tooOld = major < (required[0] as number) || (major === required[0] && minor < (required[1] as number));

// The launcher's, for this process alone: the instances' environment is made from the caller's.
delete process.env.BUN_FEATURE_FLAG_DISABLE_ASYNC_TRANSPILER;

if (tooOld) {
  console.error(`paceline: needs Node ${required.join(".")} or newer; this is Node ${process.versions.node}`);
  process.exitCode = 1;
} else {
  import("./program.js").then((program) => program.run(process.argv.slice(2)));
}

export {};
