/** `paceline scale`: more or fewer instances of a pool. */

import type { OperateOptions } from "../operate.js";
import { parseCount, withFleet, withJson, withTimeout } from "../options.js";
import type { DefineCommand } from "../program.js";

export const scale: DefineCommand = (program, action) => {
  const command = program
    .command("scale")
    .description("run N instances of a pool")
    .argument("<pool>", "the pool's name")
    .argument("<n>", "how many instances", parseCount);
  withTimeout(withJson(withFleet(command))).action(
    action(async (pool: string, instances: number, options: OperateOptions) => {
      const { operate } = await import("../operate.js");
      return operate(`/v1/pools/${encodeURIComponent(pool)}/scale`, { instances }, options);
    }),
  );
};
