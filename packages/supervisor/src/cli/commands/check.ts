/** `paceline check`: reports every problem in a configuration and loads its apps, without starting anything. */
import type { FleetSource } from "../../config/find.js";
import type { Problem } from "../../config/problems.js";
import type { PoolConfig } from "../../core/model.js";
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
        { loadFleet, sourceOf },
        { isData, unreadConfigs },
        { ConfigError },
        { secretWarnings, uncheckedSecrets, withoutSecretValues },
        { findRuntimes },
        { describeFleet },
        { certificateWarnings },
      ] = await Promise.all([
        import("../../config/load.js"),
        import("../../config/find.js"),
        import("../../config/problems.js"),
        import("../../config/secrets.js"),
        import("../../runtime/runtimes.js"),
        import("../../fleet/prepare-start.js"),
        import("../../config/certificate-files.js"),
      ]);
      const timeoutMs = milliseconds(options.timeout);
      const startedAt = performance.now();
      const runtimes = findRuntimes();
      const target = named ?? given;
      const request = {
        target,
        cwd: process.cwd(),
        overrides: { defaultPort: usualPort() },
        runtimes,
        environment: process.env as Record<string, string>,
        endsSoon: true,
        isOnlyChecked: true,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      };
      const loaded = await loadFleet(request).catch((error: unknown) => {
        if (error instanceof ConfigError && error.sound.length > 0) return error;
        throw error;
      });
      const wrong = loaded instanceof ConfigError ? loaded : undefined;
      const source = loaded instanceof ConfigError ? sourceOf(request) : loaded.source;
      const pools = loaded instanceof ConfigError ? loaded.sound : loaded.config.pools;
      if (!(loaded instanceof ConfigError)) {
        const { config } = loaded;
        const certificates = certificateWarnings(config.tls?.certificates ?? []);
        const secrets = [...secretWarnings(config), ...uncheckedSecrets(config)];
        for (const warning of [...unreadConfigs(target, source), ...secrets, ...certificates])
          printError(`warning: ${warning}`);
      }
      if (options.load) {
        const { loadApps } = await import("../load-apps.js");
        const deadline = timeoutMs === undefined ? undefined : startedAt + timeoutMs;
        const failures = await loadApps({ pools: [...pools] }, runtimes, deadline).catch((error: unknown) => {
          throw wrong ?? error;
        });
        if (failures.length > 0) {
          const placeOf = await placesIn(source, isData);
          const ofApps = failures.map(({ pool, reason }) => ({ ...placeOf(pool, pools), message: reason }));
          const { message, problems } = new ConfigError([...(wrong?.problems ?? []), ...ofApps]);
          const lastLines = failures.flatMap((failure) => failure.lastLines);
          const code = wrong?.code ?? "failed";
          return reportFailure({ ok: false, code, message, problems, lastLines }, options.json === true);
        }
      }
      if (loaded instanceof ConfigError) throw loaded;
      const { config } = loaded;
      if (options.json) printJson({ ok: true, source, config: withoutSecretValues(config) });
      else print(`OK: ${describeFleet(config, process.cwd())}`);
      return EXIT.done;
    }),
  );
};

/** Returns a function that returns where the app of a pool is configured. */
async function placesIn(
  source: FleetSource,
  isData: (file: string) => boolean,
): Promise<(pool: string, pools: readonly PoolConfig[]) => Omit<Problem, "message">> {
  const file = source.kind === "config" ? source.file : undefined;
  if (file === undefined || !isData(file)) return (pool) => ({ ...(file && { file }), path: [pool] });
  const { readConfigFile } = await import("../../config/read-file.js");
  const { lineOf } = await readConfigFile(file, { mode: "", env: {} });
  return (pool, pools) => {
    const kind = pools.find(({ name }) => name === pool)?.kind ?? "app";
    const path = lineOf(["pools", pool]) === undefined ? [kind] : ["pools", pool, kind];
    const line = lineOf(path);
    return { file, path, ...(line !== undefined && { line }) };
  };
}
