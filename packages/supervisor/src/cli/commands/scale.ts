/** `paceline scale`: changes the number of instances of a pool. */

import type { ScaleChange } from "../../control/api.js";
import { PacelineError } from "../../errors.js";
import type { FleetClient } from "../../fleet/fleet.js";
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, parseChange, withFleet, withJson, withTimeout } from "../options.js";

const SCALING = "the scaling";

export const scale: DefineCommand = (program, action) => {
  const command = program
    .command("scale")
    .description("run N instances of a pool")
    .argument("<pool>", "the pool's name; optional if there is only one pool")
    .argument("[n]", "the number of instances, or a change such as +2 or -1", parseChange);
  withTimeout(withJson(withFleet(command))).action(
    action(async (pool: string, change: ScaleChange | undefined, options: OperateOptions) => {
      const { operate } = await import("../operate.js");
      if (change !== undefined) {
        // The name of a fleet stands for its only pool.
        return operate(
          options,
          pool,
          async (fleet, how, name) => fleet.scale(name ?? (await onlyPool(fleet, textOf(change))), change, how),
          SCALING,
        );
      }
      if (!/^[+-]?\d+$/.test(pool))
        throw new PacelineError("usage", `missing required argument 'n' of scale ${pool} <n>`);
      return operate(
        options,
        undefined,
        async (fleet, how) => fleet.scale(await onlyPool(fleet, pool), parseChange(pool), how),
        SCALING,
      );
    }),
  );
};

function textOf(change: ScaleChange): string {
  if ("instances" in change) return `${change.instances}`;
  return change.by < 0 ? `${change.by}` : `+${change.by}`;
}

/** @throws PacelineError `usage` if there are several pools */
async function onlyPool(fleet: FleetClient, change: string): Promise<string> {
  const names = (await fleet.status()).pools.map(({ name }) => name);
  const [only, ...others] = names;
  if (only !== undefined && others.length === 0) return only;
  throw new PacelineError("usage", `which pool? paceline scale POOL ${change} (pools: ${names.join(", ")})`);
}
