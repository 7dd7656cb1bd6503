/** `paceline events`: prints the fleet's events. */
import type { FleetEvent } from "../../control/api.js";
import type { FollowOptions } from "../follow.js";
import { type DefineCommand, parseLines, withFleet, withJson, withTimeout } from "../options.js";

export const events: DefineCommand = (program, action) => {
  const command = program
    .command("events")
    .description("show the events of the fleet")
    .argument("[name]", "only this instance, pool or balancer")
    .option("-f, --follow", "continue with new events")
    .option("-n, --lines <count>", "begin with the last events, this many", parseLines, 100);
  withTimeout(withJson(withFleet(command))).action(
    action(async (name: string | undefined, options: FollowOptions) => {
      const [{ follow }, { eventOf, formatEvent }] = await Promise.all([
        import("../follow.js"),
        import("../format-line.js"),
      ]);
      return follow<FleetEvent>("events", name, options, { format: formatEvent, fromLog: eventOf });
    }),
  );
};
