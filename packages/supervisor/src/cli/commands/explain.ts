/** `paceline explain`: explains why something is slow, restarted, passed over, ejected or full, and what would help. */
import type { FleetChoice } from "../../fleet/api.js";
import {
  type DefineCommand,
  type JsonOption,
  milliseconds,
  parseCount,
  parseSpan,
  type TimeoutOption,
  withFleet,
  withJson,
  withTimeout,
} from "../options.js";
import { EXIT, printJson, printStyled, wantsColour } from "../output.js";

export const explain: DefineCommand = (program, action) => {
  const command = program
    .command("explain")
    .description("say why an instance, a pool, a deploy or a request is slow or failed, and what would help")
    .argument("[target]", "an instance, a pool, balancer, deploy, or the id of a request; default: the whole fleet")
    .argument("[id]", "after deploy: the deploy's number in paceline history", parseCount)
    .option("-w, --watch <seconds>", "first watch the requests for this long, to find slow paths", parseSpan);
  withTimeout(withJson(withFleet(command))).action(
    action(
      async (
        given: string | undefined,
        id: number | undefined,
        options: FleetChoice & JsonOption & TimeoutOption & { watch?: number },
      ) => {
        const [{ explainFleet, OF_FILES }, { formatExplanation }] = await Promise.all([
          import("../gather-facts.js"),
          import("../format-explanation.js"),
        ]);
        const { json, timeout, watch: watchSeconds, ...choice } = options;
        const target = given === "all" ? undefined : given;
        const explanation = await explainFleet({
          ...choice,
          target,
          id,
          watchSeconds,
          timeoutMs: milliseconds(timeout),
        });
        const isTerminal = process.stdout.isTTY === true;
        if (json) printJson(explanation);
        else
          printStyled(
            formatExplanation(explanation, {
              colour: isTerminal && wantsColour(),
              screen: isTerminal ? process.stdout : undefined,
            }),
          );
        return explanation.isRunning || OF_FILES.has(explanation.kind) ? EXIT.done : EXIT.notRunning;
      },
    ),
  );
};
