/** `paceline stop`: finishes the requests in flight and ends the fleet, even if its supervisor was killed. */

import { PacelineError } from "../../errors.js";
import type { FoundFleet } from "../../fleet/find-fleet.js";
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, milliseconds, unlessAll, withFleet, withJson, withTimeout } from "../options.js";
import { EXIT, type ExitStatus, printResult } from "../output.js";

export const stop: DefineCommand = (program, action) => {
  const command = program
    .command("stop")
    .aliases(["kill", "delete"])
    .description("finish the requests in flight, then end the fleet, or all instances of a pool")
    .argument("[pool]", "only this pool; paceline scale starts instances of it again");
  withTimeout(withJson(withFleet(command))).action(
    action(async (name: string | undefined, options: OperateOptions) => {
      const [{ elsewhere, operate }, { findSettledFleet }] = await Promise.all([
        import("../operate.js"),
        import("../../fleet/find-fleet.js"),
      ]);
      const named = unlessAll(name);
      const found = await elsewhere(findSettledFleet(options), options, named);
      // A killed supervisor has no pools to ask for.
      if (found.state === "orphaned" && (named === undefined || named === found.record?.name)) {
        const status = await stopOrphans(found, options);
        if (status !== undefined) return status;
      }
      return operate(options, named, (fleet, how, pool) => fleet.stop({ pool, ...how }), "the stop");
    }),
  );
};

/** Returns undefined if another supervisor has gone on with them meanwhile. */
async function stopOrphans({ runDir }: FoundFleet, options: OperateOptions): Promise<ExitStatus | undefined> {
  const [{ openRunDir }, { actAsOwner }] = await Promise.all([
    import("../../run-dir/run-dir.js"),
    import("../../run-dir/fleet-user.js"),
  ]);
  const endActing = actAsOwner(runDir);
  try {
    const held = await openRunDir(runDir, { replace: true, timeoutMs: milliseconds(options.timeout) });
    held.release();
  } catch (error) {
    if (error instanceof PacelineError && error.code === "running") return undefined;
    throw error;
  } finally {
    endActing();
  }
  printResult({ ok: true, message: "stopped the processes of a killed supervisor" }, options.json === true);
  return EXIT.done;
}
