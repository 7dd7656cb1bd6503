/** `paceline check`: tells everything that is wrong with a configuration, without starting anything. */
import { EXIT } from "../exit-status.js";
import { type JsonOption, milliseconds, type TimeoutOption, withJson, withTimeout } from "../options.js";
import type { DefineCommand } from "../program.js";

export const check: DefineCommand = (program, action) => {
  const command = program
    .command("check")
    .description("tell everything that is wrong with a configuration; exit status 2 if anything is")
    .argument("[config|app]", "a config file, an app module or a folder", ".");
  withTimeout(withJson(command)).action(
    action(async (target: string, options: JsonOption & TimeoutOption) => {
      const [{ loadFleet }, { findRuntimes }, { describeFleet }, { print, printJson }] = await Promise.all([
        import("../../config/load.js"),
        import("../../runtimes.js"),
        import("../describe-fleet.js"),
        import("../output.js"),
      ]);
      const timeoutMs = milliseconds(options.timeout);
      const { config, source } = await loadFleet({
        target,
        cwd: process.cwd(),
        overrides: {},
        runtimes: findRuntimes(),
        environment: process.env as Record<string, string>,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      });
      if (options.json) printJson({ ok: true, source, config });
      else print(`OK: ${describeFleet(config, process.cwd())}`);
      return EXIT.done;
    }),
  );
};
