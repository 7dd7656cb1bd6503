/** `paceline scale`: changes the number of instances of a pool. */

import type { ScaleChange } from "../../control/api.js";
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, parseChange, withFleet, withJson, withTimeout } from "../options.js";

export const scale: DefineCommand = (program, action) => {
  const command = program
    .command("scale")
    .description("run N instances of a pool")
    .argument("<pool>", "the pool's name")
    .argument("<n>", "the number of instances, or a change such as +2 or -1", parseChange);
  withTimeout(withJson(withFleet(command))).action(
    action(async (pool: string, change: ScaleChange, options: OperateOptions) => {
      const { operate } = await import("../operate.js");
      return operate(options, (fleet, how) => fleet.scale(pool, change, how));
    }),
  );
};
