/** `paceline mcp`: serves the fleet to a coding assistant over stdin and stdout. */
import type { FleetChoice } from "../../fleet/api.js";
import { version } from "../../package.js";
import { type DefineCommand, withFleet } from "../options.js";
import { EXIT, printError } from "../output.js";

const INSTRUCTIONS =
  "Paceline runs the instances of web apps behind a balancer. Call explain first: it names what is wrong and what would help. Then deaths, logs and events have the details.";

export const mcp: DefineCommand = (program, action) => {
  const command = program
    .command("mcp")
    .description(
      "serve status, logs, deaths and explanations to a coding assistant (Model Context Protocol on stdin and stdout)",
    )
    .option("--allow-actions", "let the assistant also restart, reload, scale and drain");
  withFleet(command).action(
    action(async ({ allowActions = false, ...choice }: FleetChoice & { allowActions?: boolean }) => {
      const [{ McpServer, serveLines }, { toolsFor }] = await Promise.all([
        import("../mcp-server.js"),
        import("../mcp-tools.js"),
      ]);
      if (process.stdin.isTTY)
        printError("an assistant starts this command and speaks JSON lines to it; see docs/mcp.md");
      const server = new McpServer(
        { name: "paceline", version: version(), instructions: INSTRUCTIONS },
        toolsFor(choice, allowActions),
      );
      await serveLines(server, process.stdin, (line) => void process.stdout.write(`${line}\n`));
      return EXIT.done;
    }),
  );
};
