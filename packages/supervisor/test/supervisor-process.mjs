/** Runs a supervisor from a JSON description and controls it over IPC, so that tests run it in a process with either runtime. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createSupervisor } from "../dist/supervisor.js";

const { config, configFile, directory, entries, runtimes } = JSON.parse(process.argv[2]);
const supervisor = createSupervisor({
  config,
  runDir: {
    path: directory,
    controlSocket: join(directory, "control.sock"),
    channelSocket: join(directory, "channel.sock"),
    socketPath: (id) => join(directory, `${id}.sock`),
    outputFolder: directory,
    outputPath: (id) => join(directory, `${id}.out`),
    cachePath: (pool, generation) => join(directory, `${pool}-${generation}.cache`),
  },
  environment: { PATH: process.env.PATH, FROM_CALLER: "1" },
  loadConfig: async () => {
    const loaded = JSON.parse(readFileSync(configFile, "utf8"));
    return "problems" in loaded ? { ok: false, problems: loaded.problems } : { ok: true, config: loaded };
  },
  runtimes,
  version: "0.0.0",
  entries,
});

process.on("message", async ({ id, method, args }) => {
  try {
    const target = supervisor[method];
    // IPC turns undefined into null.
    const given = args.map((argument) => argument ?? undefined);
    const withProgress = ["scale", "reload", "restart"].includes(method) ? [...given, () => {}] : given;
    const result = await target.apply(supervisor, withProgress);
    tell({ id, result });
  } catch (error) {
    tell({ id, error: { message: error.message, code: error.code } });
  }
});
function tell(response) {
  // After the fleet has stopped, nobody needs the response.
  if (process.connected) process.send(response);
}
// The end of a test stops its supervisor.
process.on("disconnect", () => supervisor.stop());
supervisor.ended.then(({ failed }) => {
  process.removeAllListeners("disconnect");
  if (process.connected) process.disconnect();
  process.exitCode = failed ? 1 : 0;
});
process.send({ id: 0, result: "up" });
