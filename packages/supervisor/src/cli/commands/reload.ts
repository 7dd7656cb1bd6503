/** `paceline reload`: loads new config, env files and code, and replaces instances, maxSurge at a time, without losing a request. */
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, withFleet, withJson, withTimeout } from "../options.js";

export const reload: DefineCommand = (program, action) => {
  const command = program
    .command("reload")
    .description("load new config, env files and code, and replace the instances, maxSurge at a time")
    .argument("[pool]", "only this pool")
    .option("--update-env", "also read this shell's environment");
  withTimeout(withJson(withFleet(command))).action(
    action(async (given: string | undefined, options: OperateOptions & { updateEnv?: boolean }) => {
      const { operate } = await import("../operate.js");
      const env = options.updateEnv ? (process.env as Record<string, string>) : undefined;
      return operate(options, given, (fleet, how, pool) => fleet.reload({ pool, env, ...how }), "the reload");
    }),
  );
};
