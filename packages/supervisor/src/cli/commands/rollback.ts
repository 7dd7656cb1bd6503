/** `paceline rollback`: returns to the version before the last deploy, or takes back the one that is under way. */
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, withFleet, withJson, withTimeout } from "../options.js";

export const rollback: DefineCommand = (program, action) => {
  const command = program
    .command("rollback")
    .description("return to the version before the last deploy, or take back the deploy that is under way");
  withTimeout(withJson(withFleet(command))).action(
    action(async (options: OperateOptions) => {
      const { operate } = await import("../operate.js");
      return operate(options, undefined, (fleet, how) => fleet.rollback(how), "the rollback");
    }),
  );
};
