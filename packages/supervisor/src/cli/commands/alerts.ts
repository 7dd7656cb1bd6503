/** `paceline alerts`: shows the destinations of alerts and their deliveries, or sends a test. */
import type { AlertStatus } from "../../control/api.js";
import type { FleetChoice } from "../../fleet/api.js";
import {
  type DefineCommand,
  type JsonOption,
  milliseconds,
  type TimeoutOption,
  withFleet,
  withJson,
  withTimeout,
} from "../options.js";
import { EXIT, print, printJson } from "../output.js";

export const alerts: DefineCommand = (program, action) => {
  const command = program
    .command("alerts")
    .description("list the destinations of alerts and their deliveries")
    .option("--test", "send a test to each webhook and command, and print what happened");
  withTimeout(withJson(withFleet(command))).action(
    action(async (options: FleetChoice & JsonOption & TimeoutOption & { test?: boolean }) => {
      if (options.test) {
        const { operate } = await import("../operate.js");
        return operate(options, undefined, (fleet, how) => fleet.testAlerts(how), "the test");
      }
      const [{ connectFleet }, { formatAlerts }] = await Promise.all([
        import("../../fleet/fleet.js"),
        import("../format-alerts.js"),
      ]);
      const fleet = await connectFleet(options);
      const document = await fleet.document<{ alerts: AlertStatus[] }>("/v1/alerts", milliseconds(options.timeout));
      if (options.json) printJson(document);
      else print(formatAlerts(document.alerts, Date.now()));
      return EXIT.done;
    }),
  );
};
