/** `paceline logs`: prints the output of the instances and the fleet's events. */
import type { LogLine } from "../../control/api.js";
import type { FollowOptions } from "../follow.js";
import { type DefineCommand, parseLines, withFleet, withJson, withTimeout } from "../options.js";

export const logs: DefineCommand = (program, action) => {
  const command = program
    .command("logs")
    .description("show the output of the instances and their events")
    .argument("[name]", "only this instance or pool; paceline for the supervisor's own lines")
    .option("-f, --follow", "continue with new lines")
    .option("-n, --lines <count>", "begin with the last lines, this many", parseLines, 100);
  withTimeout(withJson(withFleet(command))).action(
    action(async (name: string | undefined, options: FollowOptions) => {
      const [{ follow }, { formatLogLine }] = await Promise.all([import("../follow.js"), import("../format-line.js")]);
      return follow<LogLine>("logs", name, options, { format: formatLogLine, fromLog: (line) => line });
    }),
  );
};
