/** Formats the destinations of alerts: one line for each, followed by its events and last delivery. */
import type { AlertStatus } from "../control/api.js";
import { ALERT_NAMES } from "../core/alerts.js";
import { agoText } from "../core/explain-model.js";
import { wrap } from "./format-explanation.js";

const COLUMNS = 80;

export function formatAlerts(alerts: readonly AlertStatus[], now: number): string {
  if (alerts.length === 0) return "the configuration has no alerts";
  return alerts
    .flatMap(({ to, on, delivered, failed, suppressed, waiting, held, last }) => {
      const counts = [
        `${delivered} delivered`,
        `${failed} failed`,
        `${suppressed} suppressed`,
        ...(waiting === 0 ? [] : [`${waiting} waiting`]),
        ...(held === 0 ? [] : [`${held} held in quiet hours`]),
      ];
      const events = on.length === ALERT_NAMES.length ? "all events" : on.join(", ");
      const outcome =
        last === null ? "" : `last: ${last.kind}, ${agoText(last.at, now)}, ${last.problem ?? "delivered"}`;
      return [
        ...wrap(`${to}  ${counts.join(", ")}`, COLUMNS, "", "  "),
        ...wrap(events, COLUMNS, "  on ", "     "),
        ...(outcome === "" ? [] : wrap(outcome, COLUMNS, "  ", "    ")),
      ];
    })
    .join("\n");
}
