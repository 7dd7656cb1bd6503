/** Loads a fleet and writes it for another program: `paceline export`, except for the systemd unit, which systemd-unit.ts writes. */
import { isIP, isIPv6 } from "node:net";
import { PacelineError } from "../errors.js";
import type { Box } from "../export/facts.js";
import { FORMATS, type FormatName } from "../export/formats.js";
import type { FleetStart } from "../fleet/api.js";
import { prepareStart } from "../fleet/prepare-start.js";
import { writtenArguments } from "../fleet/supervisor-process.js";
import type { StartOptions } from "./options.js";

export interface ExportOptions extends StartOptions {
  user?: string;
  box?: string[];
  bind?: string;
  image?: string;
  workdir?: string;
}

/** Examples that the user has to replace. */
const BOXES: readonly Box[] = [
  { name: "box1", host: "10.0.0.1", port: undefined },
  { name: "box2", host: "10.0.0.2", port: undefined },
];
const DEFAULT_BIND = ":80";
const DEFAULT_WORKDIR = "/app";

/** For each option, the formats that use it. */
const OPTIONS = {
  user: ["systemd"],
  box: ["haproxy", "nginx", "kamal"],
  bind: ["haproxy", "nginx"],
  image: ["kubernetes", "compose", "kamal"],
  workdir: ["kubernetes", "compose"],
} as const satisfies Partial<Record<keyof ExportOptions, readonly string[]>>;

/** @throws PacelineError `usage` for an option that the format does not use */
export function refuseOptions(format: string, options: ExportOptions): void {
  for (const [name, formats] of Object.entries(OPTIONS)) {
    const isGiven = options[name as keyof typeof OPTIONS] !== undefined;
    if (isGiven && !(formats as readonly string[]).includes(format))
      throw new PacelineError("usage", `--${name} is for ${formats.join(", ")}, not for ${format}`);
  }
}

/** @throws ConfigError, or PacelineError `usage` */
export async function exportFleet(format: FormatName, start: FleetStart, options: ExportOptions): Promise<string> {
  const { load, isFront } = FORMATS[format];
  const boxes = boxesOf(options.box);
  const { bind = DEFAULT_BIND, image, workdir = DEFAULT_WORKDIR } = options;
  checkWords({ "--bind": bind, "--image": image, "--workdir": workdir });
  if (!workdir.startsWith("/")) throw new PacelineError("usage", `--workdir: must be an absolute path, not ${workdir}`);
  // The run directory does not matter, because none is created.
  const prepared = await prepareStart({ ...start, runDir: "." }, { endsSoon: true, isOnlyChecked: true });
  const { identity, fleet } = prepared;
  const { config, source } = fleet;
  if (isFront && config.listen.length === 0)
    throw new PacelineError(
      "usage",
      `${format}: ${config.name} has only workers, which get no requests, so it needs no front`,
    );
  const isPath = source.kind === "config" || (start.file !== undefined && source.kind === "app");
  const args = writtenArguments(isPath ? { ...start, file: identity.source } : start, config.listen);
  const write = await load();
  return write({ config, start: args, folder: identity.folder, workdir, image, boxes, bind });
}

function boxesOf(given: readonly string[] | undefined): readonly Box[] {
  if (given === undefined) return BOXES;
  const boxes = given.map((text, at) => boxOf(text, at));
  const twice = boxes.find(({ name }, at) => boxes.findIndex((other) => other.name === name) !== at);
  if (twice !== undefined) throw new PacelineError("usage", `--box: two boxes are named ${twice.name}`);
  return boxes;
}

/** Parses `10.0.0.1`, `box1=10.0.0.1:8080`, `box1.example` or `[fd00::1]:8080`. */
function boxOf(text: string, at: number): Box {
  const [, name = `box${at + 1}`, place = ""] = /^(?:([A-Za-z][\w-]{0,31})=)?(.*)$/s.exec(text) ?? [];
  const [, inBrackets, plain, digits] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(place) ?? [];
  const host = inBrackets ?? plain ?? (isIPv6(place) ? place : "");
  const port = digits === undefined ? undefined : Number(digits);
  const isHost = inBrackets === undefined ? isIP(host) > 0 || /^[A-Za-z0-9][A-Za-z0-9.-]*$/.test(host) : isIPv6(host);
  if (isHost && (port === undefined || (port >= 1 && port <= 65_535))) return { name, host, port };
  throw new PacelineError(
    "usage",
    `--box: must be ADDRESS, ADDRESS:PORT or NAME=ADDRESS:PORT, not ${JSON.stringify(text)}`,
  );
}

/** These words are written into files of other programs, in which a space or a quote would have a special meaning. */
function checkWords(words: Record<string, string | undefined>): void {
  for (const [option, word] of Object.entries(words)) {
    if (word !== undefined && !/^[\w.*:[\]/@+-]+$/.test(word))
      throw new PacelineError(
        "usage",
        `${option}: must not contain spaces, quotes or special characters: ${JSON.stringify(word)}`,
      );
  }
}
