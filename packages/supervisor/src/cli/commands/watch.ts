/** `paceline watch`: prints changes of state as they happen. */
import type { FleetChoice } from "../../fleet/api.js";
import {
  type DefineCommand,
  type JsonOption,
  milliseconds,
  type TimeoutOption,
  unlessAll,
  withFleet,
  withJson,
  withTimeout,
} from "../options.js";
import { EXIT } from "../output.js";

export const watch: DefineCommand = (program, action) => {
  const command = program
    .command("watch")
    .description("print each change of state as it happens, one per line")
    .argument("[name]", "only this instance, pool or balancer");
  withTimeout(withJson(withFleet(command))).action(
    action(async (given: string | undefined, options: FleetChoice & JsonOption & TimeoutOption) => {
      const { watchChanges } = await import("../watch-changes.js");
      await watchChanges(unlessAll(given), options, milliseconds(options.timeout));
      return EXIT.done;
    }),
  );
};
