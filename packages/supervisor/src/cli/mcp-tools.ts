/**
 * The tools that `paceline mcp` offers to an assistant. Each reads the fleet as the command of the same name does. Actions are offered only
 * if they are allowed.
 */
import { lstatSync } from "node:fs";
import { dirname, join } from "node:path";
import type { FleetEvent, LogLine } from "../control/api.js";
import { PacelineError } from "../errors.js";
import type { FleetChoice } from "../fleet/api.js";
import { findFleet } from "../fleet/find-fleet.js";
import { connectFleet } from "../fleet/fleet.js";
import { readHistory, readReports } from "../run-dir/report-files.js";
import { formatExplanation } from "./format-explanation.js";
import { formatEvent, formatLogLine } from "./format-line.js";
import { formatDeath, formatDeaths, formatEntry, formatHistory } from "./format-reports.js";
import { formatStatus } from "./format-status.js";
import { explainFleet } from "./gather-facts.js";
import type { Tool, ToolArgument, ToolArguments } from "./mcp-server.js";

const WIDE = 200;
const MAX_LINES = 1_000;
/** How long an assistant waits for an action at most, in milliseconds. The action continues in any case. */
const ACTION_TIMEOUT_MS = 120_000;
const NO_SCREEN = { columns: 80, rows: 200 };

const nameArgument: ToolArgument = {
  type: "string",
  description: "only this instance, pool or balancer, such as web or web.3",
};
const linesArgument: ToolArgument = {
  type: "integer",
  minimum: 1,
  maximum: MAX_LINES,
  description: "at most this many lines, the newest; default: 100",
};

/** Returns the tools for the fleet that the options select. The fleet is looked up at each call. */
export function toolsFor(choice: FleetChoice, allowsActions: boolean): Tool[] {
  const reading: Tool[] = [
    {
      name: "explain",
      description:
        "Why an instance, a pool, the balancer, a deploy or a request is slow, restarted, ejected or failed, and what would help. Ask this first; without a target it covers the whole fleet.",
      arguments: {
        target: { type: "string", description: "such as web, web.3, balancer, deploy, or the id of a request" },
        watchSeconds: {
          type: "integer",
          minimum: 1,
          maximum: 30,
          description: "first watch requests for this long, to find slow paths",
        },
      },
      call: async (args) => {
        const explanation = await explainFleet({
          ...choice,
          target: text(args.target),
          watchSeconds: number(args.watchSeconds),
        });
        return formatExplanation(explanation, { colour: false, screen: NO_SCREEN });
      },
    },
    {
      name: "status",
      description:
        "Every process of the fleet with its state, memory, CPU, request rate, latencies and restarts, and what is wrong.",
      arguments: {},
      call: async () => formatStatus(await (await connectFleet(choice)).status(), { colour: false, width: WIDE }),
    },
    {
      name: "logs",
      description: "The output of the instances, with the fleet's events between the lines.",
      arguments: {
        name: nameArgument,
        lines: linesArgument,
        search: { type: "string", description: "only lines that contain this text" },
      },
      call: async (args) => {
        const search = text(args.search);
        const found = await linesOf<LogLine>(
          choice,
          "logs",
          text(args.name),
          search === undefined ? count(args) : undefined,
        );
        const fitting =
          search === undefined ? found : found.filter((line) => line.text.includes(search)).slice(-count(args));
        return listText(fitting.map((line) => formatLogLine(line)));
      },
    },
    {
      name: "events",
      description: "The events of the fleet: starts, exits, reloads, ejections, with times.",
      arguments: { name: nameArgument, lines: linesArgument },
      call: async (args) =>
        listText(
          (await linesOf<FleetEvent>(choice, "events", text(args.name), count(args))).map((event) =>
            formatEvent(event),
          ),
        ),
    },
    {
      name: "deaths",
      description:
        "Which processes died, how, and which requests were lost; with an id, the whole report: stack, last lines, memory.",
      arguments: { id: { type: "integer", minimum: 1, description: "the number of a report" } },
      call: async ({ id }) => {
        const { folder, runDir } = await placesOf(choice);
        const reports = readReports(folder, lstatSync(runDir, { throwIfNoEntry: false })?.uid);
        if (id === undefined) return formatDeaths(reports, Date.now(), WIDE);
        const report = reports.find((each) => each.id === id);
        if (report === undefined) throw new PacelineError("invalid", `there is no report ${id}`);
        return formatDeath(report, { columns: WIDE, rows: 200 });
      },
    },
    {
      name: "history",
      description:
        "Who started, reloaded, deployed, scaled or stopped the fleet, when, and how it ended; with an id the steps of one operation.",
      arguments: { id: { type: "integer", minimum: 1, description: "the number of an entry" }, lines: linesArgument },
      call: async (args) => {
        const { folder, runDir } = await placesOf(choice);
        const { entries } = readHistory(join(dirname(folder), "history"), runDir);
        if (args.id === undefined) return formatHistory(entries.slice(0, count(args)), Date.now(), WIDE);
        const entry = entries.find((each) => each.id === args.id);
        if (entry === undefined) throw new PacelineError("invalid", `the history has no entry ${args.id}`);
        return formatEntry(entry);
      },
    },
  ];
  return allowsActions ? [...reading, ...actionsFor(choice)] : reading;
}

function actionsFor(choice: FleetChoice): Tool[] {
  const instance: ToolArgument = { type: "string", description: "such as web.3", isRequired: true };
  const run = async (
    act: (
      fleet: Awaited<ReturnType<typeof connectFleet>>,
      options: { timeoutMs: number; onProgress(line: string): void },
    ) => Promise<{ message: string }>,
  ) => {
    const lines: string[] = [];
    const options = { timeoutMs: ACTION_TIMEOUT_MS, onProgress: (line: string) => void lines.push(line) };
    const { message } = await act(await connectFleet(choice), options);
    return [...lines, message].join("\n");
  };
  return [
    {
      name: "restart",
      description:
        "Replaces the processes of an instance, a pool or the balancer one after another, without losing a request.",
      arguments: { target: { type: "string", description: "such as web or web.3; default: all pools" } },
      isAction: true,
      call: (args) => run((fleet, options) => fleet.restart(text(args.target), options)),
    },
    {
      name: "reload",
      description:
        "Loads code and configuration again and replaces the instances; if the new version does not start, the old one keeps serving.",
      arguments: { pool: { type: "string", description: "default: all pools" } },
      isAction: true,
      call: (args) => run((fleet, options) => fleet.reload({ pool: text(args.pool), ...options })),
    },
    {
      name: "scale",
      description: "Changes the number of instances of a pool.",
      arguments: {
        pool: { type: "string", description: "such as web", isRequired: true },
        instances: { type: "integer", minimum: 1, maximum: 1024, description: "the new number", isRequired: true },
      },
      isAction: true,
      call: (args) => run((fleet, options) => fleet.scale(text(args.pool) ?? "", number(args.instances) ?? 1, options)),
    },
    {
      name: "drain",
      description: "Stops new requests to an instance until it is undrained, for example to examine it.",
      arguments: { instance },
      isAction: true,
      call: (args) => run((fleet, options) => fleet.turn("drain", text(args.instance) ?? "", {}, options)),
    },
    {
      name: "undrain",
      description: "Sends a drained instance requests again.",
      arguments: { instance },
      isAction: true,
      call: (args) => run((fleet, options) => fleet.turn("undrain", text(args.instance) ?? "", {}, options)),
    },
  ];
}

function text(value: ToolArguments[string]): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function number(value: ToolArguments[string]): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function count({ lines }: ToolArguments): number {
  return number(lines) ?? 100;
}

function listText(lines: readonly string[]): string {
  return lines.length === 0 ? "no lines" : lines.join("\n");
}

async function linesOf<Line>(
  choice: FleetChoice,
  what: "events" | "logs",
  name: string | undefined,
  lines: number | undefined,
): Promise<Line[]> {
  const found: Line[] = [];
  const fleet = await connectFleet(choice);
  await fleet.read<Line>(what, { name, lines, follow: false }, (some) => void found.push(...some));
  return found;
}

/** Returns the folder of deaths, beside which the history is stored; also for a stopped fleet. */
async function placesOf(choice: FleetChoice): Promise<{ folder: string; runDir: string }> {
  const { record, runDir } = await findFleet(choice);
  return { folder: record?.deathsFolder ?? join(runDir, "deaths"), runDir };
}
