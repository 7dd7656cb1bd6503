/** `paceline rollback`: returns to the version before the last deploy, or rolls back the deploy in progress. */
import { resolve } from "node:path";
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, withFleet, withJson, withTimeout } from "../options.js";

export const rollback: DefineCommand = (program, action) => {
  const command = program
    .command("rollback")
    .description("return to the version before the last deploy, or cancel the deploy under way")
    .argument("[release]", "only if this release was deployed last, or is being deployed");
  withTimeout(withJson(withFleet(command))).action(
    action(async (given: string | undefined, options: OperateOptions) => {
      const { operate } = await import("../operate.js");
      const release = given === undefined ? undefined : resolve(given);
      return operate(options, undefined, (fleet, how) => fleet.rollback(how, release), "the rollback");
    }),
  );
};
