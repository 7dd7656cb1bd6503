/** `paceline check`: reports every problem in a configuration and loads its apps, without starting anything. */

import { PacelineError } from "../../errors.js";
import {
  type DefineCommand,
  type JsonOption,
  milliseconds,
  type TimeoutOption,
  usualPort,
  withJson,
  withTimeout,
} from "../options.js";
import { EXIT, print, printError, printJson, reportFailure } from "../output.js";

export const check: DefineCommand = (program, action) => {
  const command = program
    .command("check")
    .description("check a configuration and load its apps; exit status 2 if the configuration has problems")
    .argument("[config|app]", "a config file, an app module or a folder", ".")
    .option("-c, --config <path>", "the config file, in place of the argument")
    .option("--no-load", "do not load the apps");
  withTimeout(withJson(command)).action(
    action(async (given: string, options: JsonOption & TimeoutOption & { load: boolean; config?: string }) => {
      const { config: named } = options;
      if (named !== undefined && given !== ".")
        throw new PacelineError("usage", `-c ${named}: use either -c or an argument (${given}), not both`);
      const [
        { loadFleet },
        { unreadConfigs },
        { secretWarnings, uncheckedSecrets, withoutSecretValues },
        { findRuntimes },
        { describeFleet },
        { certificateWarnings },
      ] = await Promise.all([
        import("../../config/load.js"),
        import("../../config/find.js"),
        import("../../config/secrets.js"),
        import("../../runtime/runtimes.js"),
        import("../../fleet/prepare-start.js"),
        import("../../config/certificate-files.js"),
      ]);
      const timeoutMs = milliseconds(options.timeout);
      const startedAt = performance.now();
      const runtimes = findRuntimes();
      const target = named ?? given;
      const { config, source } = await loadFleet({
        target,
        cwd: process.cwd(),
        overrides: { defaultPort: usualPort() },
        runtimes,
        environment: process.env as Record<string, string>,
        endsSoon: true,
        isOnlyChecked: true,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      });
      if (options.load) {
        const { loadApps } = await import("../load-apps.js");
        const deadline = timeoutMs === undefined ? undefined : startedAt + timeoutMs;
        const failures = await loadApps(config, runtimes, deadline);
        if (failures.length > 0) {
          const message = failures.map(({ pool, reason }) => `${pool}: ${reason}`).join("\n");
          const lastLines = failures.flatMap((failure) => failure.lastLines);
          return reportFailure({ ok: false, code: "failed", message, lastLines }, options.json === true);
        }
      }
      const certificates = certificateWarnings(config.tls?.certificates ?? []);
      const secrets = [...secretWarnings(config), ...uncheckedSecrets(config)];
      for (const warning of [...unreadConfigs(target, source), ...secrets, ...certificates])
        printError(`warning: ${warning}`);
      if (options.json) printJson({ ok: true, source, config: withoutSecretValues(config) });
      else print(`OK: ${describeFleet(config, process.cwd())}`);
      return EXIT.done;
    }),
  );
};
