/** `paceline status`: lists every process of the fleet with its memory and request rate. */
import type { Status } from "../../control/api.js";
import { serves } from "../../core/serving.js";
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
import { EXIT, printJson, printStyled } from "../output.js";

/** The width of the output if it is not a terminal. */
const USUAL_COLUMNS = 80;

export const status: DefineCommand = (program, action) => {
  const command = program
    .command("status")
    .description("show every process, its memory and its request rate")
    .option(
      "--check",
      "exit 1 unless every wanted instance and every balancer is ready and not stalled, and every pool has an instance that is not drained",
    )
    .option("--wide", "show all columns, however wide the terminal is");
  withTimeout(withJson(withFleet(command))).action(
    action(async (options: FleetChoice & JsonOption & TimeoutOption & { check?: boolean; wide?: boolean }) => {
      const { connectFleet } = await import("../../fleet/fleet.js");
      const fleet = await connectFleet(options);
      const document = await fleet.status({ timeoutMs: milliseconds(options.timeout) });
      if (options.json) printJson(document);
      else {
        const { formatStatus } = await import("../format-status.js");
        // If stdout is not a terminal, lines stay whole, for programs that read them.
        const isTerminal = process.stdout.isTTY === true;
        const colour = isTerminal && process.env.NO_COLOR === undefined;
        const columns = Number(process.env.COLUMNS) || process.stdout.columns || USUAL_COLUMNS;
        printStyled(formatStatus(document, { colour, width: options.wide ? undefined : columns, wraps: isTerminal }));
      }
      return options.check && !isReady(document) ? EXIT.failed : EXIT.done;
    }),
  );
};

function isReady({ state, pools, balancers }: Status): boolean {
  return (
    state === "running" &&
    pools.every(
      ({ instances, wanted }) =>
        instances.filter(responds).length >= wanted && (wanted === 0 || instances.some(serves)),
    ) &&
    balancers.every(responds)
  );
}

/** A stalled process is still in the state `ready`. */
function responds({ state, stalledMs }: { state: string; stalledMs: number | null }): boolean {
  return state === "ready" && stalledMs === null;
}
