/** `paceline lock` and `paceline unlock`: keep others from changing the fleet, and show them a reason. */
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, withFleet, withJson, withTimeout } from "../options.js";

export const lock: DefineCommand = (program, action) => {
  const command = program
    .command("lock")
    .description("refuse every reload, deploy, rollback, restart, scaling, drain and upgrade until paceline unlock")
    .argument("<reason>", "the reason, such as migration, which refused users see");
  withTimeout(withJson(withFleet(command))).action(
    action(async (reason: string, options: OperateOptions) => {
      const { operate } = await import("../operate.js");
      return operate(options, undefined, (fleet, how) => fleet.lock(reason, how), "the lock");
    }),
  );
};

export const unlock: DefineCommand = (program, action) => {
  const command = program.command("unlock").description("remove the lock, even if another user set it");
  withTimeout(withJson(withFleet(command))).action(
    action(async (options: OperateOptions) => {
      const { operate } = await import("../operate.js");
      return operate(options, undefined, (fleet, how) => fleet.unlock(how), "the unlock");
    }),
  );
};
