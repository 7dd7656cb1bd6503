/** `paceline restart`: replaces processes with new ones of the same generation. */
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, withFleet, withJson, withTimeout } from "../options.js";

export const restart: DefineCommand = (program, action) => {
  const command = program
    .command("restart")
    .description("replace an instance, a pool, a balancer or all pools, one process at a time")
    .argument("[target]", "such as web.3, web, balancer.1 or balancer");
  withTimeout(withJson(withFleet(command))).action(
    action(async (given: string | undefined, options: OperateOptions) => {
      const { operate } = await import("../operate.js");
      return operate(options, given, (fleet, how, target) => fleet.restart(target, how), "the restart");
    }),
  );
};
