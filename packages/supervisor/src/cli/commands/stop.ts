/** `paceline stop`: finishes what is in flight and ends the fleet. */
import type { OperateOptions } from "../operate.js";
import { withFleet, withJson, withTimeout } from "../options.js";
import type { DefineCommand } from "../program.js";

export const stop: DefineCommand = (program, action) => {
  const command = program.command("stop").description("finish what is in flight, then end the whole fleet");
  withTimeout(withJson(withFleet(command))).action(
    action(async (options: OperateOptions) => {
      const { operate } = await import("../operate.js");
      return operate("/v1/stop", {}, options);
    }),
  );
};
