/**
 * `paceline stop`: finishes the requests in flight and stops the fleet, even if its supervisor was killed before or is killed meanwhile.
 */

import type { FoundFleet } from "../../fleet/known-fleets.js";
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, milliseconds, unlessAll, withFleet, withJson, withTimeout } from "../options.js";
import { EXIT, type ExitStatus, printResult } from "../output.js";

export const stop: DefineCommand = (program, action) => {
  const command = program
    .command("stop")
    .aliases(["kill", "delete"])
    .description("finish the requests in flight, then end the fleet, or all instances of a pool")
    .argument("[pool]", "only this pool; paceline restart POOL starts its instances again");
  withTimeout(withJson(withFleet(command))).action(
    action(async (name: string | undefined, options: OperateOptions) => {
      const [{ elsewhere, operate }, { findSettledFleet }, { isLoss }] = await Promise.all([
        import("../operate.js"),
        import("../../fleet/find-fleet.js"),
        import("../../fleet/stop-fleet.js"),
      ]);
      const named = unlessAll(name);
      const found = await elsewhere(findSettledFleet(options), options, named);
      // A fleet whose supervisor was killed has no pools that could be listed.
      const isWhole = named === undefined || named === found.record?.name;
      if (found.state === "orphaned" && isWhole) return stopOrphans(found, options);
      try {
        return await operate(options, named, (fleet, how, pool) => fleet.stop({ pool, ...how }), "the stop");
      } catch (error) {
        // The supervisor was killed before it was asked to stop.
        if (found.state === "down" || !isWhole || !isLoss(error)) throw error;
        return stopOrphans(found, options);
      }
    }),
  );
};

async function stopOrphans(found: FoundFleet, options: OperateOptions): Promise<ExitStatus> {
  const [{ FleetClient }, { interruptible }] = await Promise.all([
    import("../../fleet/fleet.js"),
    import("../operate.js"),
  ]);
  const fleet = new FleetClient(found);
  const timeoutMs = milliseconds(options.timeout);
  const done = await interruptible(fleet, "the stop", () => fleet.stopRest({ timeoutMs }));
  printResult({ ok: true, message: done.message }, options.json === true);
  return EXIT.done;
}
