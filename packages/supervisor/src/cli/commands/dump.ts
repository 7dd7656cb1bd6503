/** `paceline dump`: prints the stack of a process, or writes its heap or CPU profile into a file. */
import type { DumpKind } from "@paceline/wire";
import { Option } from "commander";
import { PacelineError } from "../../errors.js";
import type { FleetChoice } from "../../fleet/api.js";
import {
  type DefineCommand,
  type JsonOption,
  milliseconds,
  parseProfileSeconds,
  type TimeoutOption,
  withFleet,
  withJson,
  withTimeout,
} from "../options.js";
import { EXIT, print, printJson } from "../output.js";

type DumpOptions = FleetChoice &
  JsonOption &
  TimeoutOption & { stack?: boolean; heap?: boolean; cpu?: number; output?: string | undefined };

export const dump: DefineCommand = (program, action) => {
  const command = program
    .command("dump")
    .description("show the stack, the heap or the CPU profile of a process")
    .argument("[target]", "an instance such as web.3, a balancer, or paceline for the supervisor")
    .option("--stack", "print the functions that it is running")
    .option("--heap", "write a heap snapshot")
    .addOption(new Option("--cpu <seconds>", "write a CPU profile of this duration").argParser(parseProfileSeconds))
    .option("-o, --output <file>", "the new file (default: named after the process, in this folder)");
  withTimeout(withJson(withFleet(command))).action(
    action(async (target: string | undefined, options: DumpOptions) => {
      if (target === undefined)
        throw new PacelineError(
          "usage",
          "name a process: paceline dump web.3 --stack; unlike PM2's dump it saves no fleet: paceline startup starts a fleet on boot",
        );
      const what = whatOf(options);
      const { connectFleet } = await import("../../fleet/fleet.js");
      const fleet = await connectFleet(options);
      const { message, details } = await fleet.dump(target, what, options.cpu ?? 0, {
        timeoutMs: milliseconds(options.timeout),
      });
      const { saveText, takeDump } = await import("../save-dump.js");
      if (details?.path !== undefined) {
        const taken = takeDump(target, details, options.output);
        if (options.json) printJson({ ok: true, file: taken.file });
        else print(taken.message);
      } else if (options.output !== undefined) {
        const file = saveText(`${message}\n`, options.output);
        if (options.json) printJson({ ok: true, file });
        else print(`${file} is written`);
      } else if (options.json) printJson({ ok: true, stack: message.split("\n") });
      else print(message);
      return EXIT.done;
    }),
  );
};

function whatOf({ stack, heap, cpu }: DumpOptions): DumpKind {
  const chosen: DumpKind[] = [
    ...(stack === true ? (["stack"] as const) : []),
    ...(heap === true ? (["heap"] as const) : []),
    ...(cpu === undefined ? [] : (["cpu"] as const)),
  ];
  const [first, ...more] = chosen;
  if (first === undefined || more.length > 0)
    throw new PacelineError("usage", "choose one of --stack, --heap and --cpu SECONDS");
  return first;
}
