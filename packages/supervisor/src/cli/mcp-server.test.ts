/** MCP as raw lines. */
import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { PacelineError } from "../errors.js";
import { McpServer, serveLines, type Tool } from "./mcp-server.js";
import { toolsFor } from "./mcp-tools.js";

const tools: Tool[] = [
  {
    name: "echo",
    description: "Echoes.",
    arguments: {
      text: { type: "string", description: "what", isRequired: true },
      times: { type: "integer", minimum: 1, maximum: 3, description: "how often" },
    },
    call: async ({ text = "", times = 1 }) => String(text).repeat(Number(times)),
  },
  {
    name: "fail",
    description: "Fails.",
    arguments: {},
    isAction: true,
    call: async () => {
      throw new PacelineError("not-running", "nothing is running here");
    },
  },
];
const server = new McpServer({ name: "paceline", version: "1.0.0", instructions: "Ask." }, tools);

/** Returns the responses to these lines. */
async function talk(...lines: string[]): Promise<unknown[]> {
  const written: unknown[] = [];
  await serveLines(server, Readable.from([lines.join("\n")]), (line) => written.push(JSON.parse(line)));
  return written;
}

const call = (params: object, id: number | string = 1) =>
  JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params });
const error = (code: number, message: unknown, id: number | null = 1) => ({
  jsonrpc: "2.0",
  id,
  error: { code, message },
});

describe("the protocol", () => {
  it("begins with initialize, and offers its newest version if the requested one is unknown", async () => {
    const hello = (protocolVersion: string) =>
      JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        method: "initialize",
        params: { protocolVersion, capabilities: {}, clientInfo: { name: "x", version: "1" } },
      });
    const [known] = await talk(hello("2024-11-05"), '{"jsonrpc":"2.0","method":"notifications/initialized"}');
    expect(known).toEqual({
      jsonrpc: "2.0",
      id: 1,
      result: {
        protocolVersion: "2024-11-05",
        capabilities: { tools: {} },
        serverInfo: { name: "paceline", version: "1.0.0" },
        instructions: "Ask.",
      },
    });
    expect(await talk(hello("1999-01-01"))).toMatchObject([{ result: { protocolVersion: "2025-11-25" } }]);
  });

  it("lists the tools with their schemas", async () => {
    const [list] = await talk('{"jsonrpc":"2.0","id":"a","method":"tools/list"}');
    expect(list).toMatchObject({
      id: "a",
      result: {
        tools: [
          {
            name: "echo",
            inputSchema: {
              type: "object",
              required: ["text"],
              properties: { times: { type: "integer", maximum: 3 } },
              additionalProperties: false,
            },
            annotations: { readOnlyHint: true },
          },
          { name: "fail", annotations: { readOnlyHint: false } },
        ],
      },
    });
  });

  it("calls tools; an error that an assistant can act on is a result", async () => {
    expect(await talk(call({ name: "echo", arguments: { text: "ab", times: 2 } }))).toEqual([
      { jsonrpc: "2.0", id: 1, result: { content: [{ type: "text", text: "abab" }] } },
    ]);
    expect(await talk(call({ name: "fail" }))).toEqual([
      {
        jsonrpc: "2.0",
        id: 1,
        result: { content: [{ type: "text", text: "nothing is running here" }], isError: true },
      },
    ]);
  });

  it.each([
    ["{", error(-32_700, expect.stringContaining("not JSON"), null)],
    ["[]", error(-32_600, "a message must be one object", null)],
    ['{"id":1,"method":"ping"}', error(-32_600, '"jsonrpc" must be "2.0"')],
    ['{"jsonrpc":"2.0","id":1}', error(-32_600, '"method" must be text')],
    ['{"jsonrpc":"2.0","id":{},"method":"ping"}', error(-32_600, '"id" must be text or a number', null)],
    ['{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', error(-32_602, '"params" must be an object')],
    ['{"jsonrpc":"2.0","id":1,"method":"resources/list"}', error(-32_601, 'there is no method "resources/list"')],
    [call({ name: "restart" }), error(-32_602, 'there is no tool "restart" (known: echo, fail)')],
    [call({ name: "echo", arguments: [] }), error(-32_602, "echo: arguments must be an object")],
    [
      call({ name: "echo", arguments: { times: 4, __proto: 1 } }),
      error(-32_602, 'echo: there is no argument "__proto"; text is missing; times must be a whole number from 1 to 3'),
    ],
    [
      call({ name: "echo", arguments: { text: "x".repeat(1_001) } }),
      error(-32_602, "echo: text must be text of at most 1000 characters"),
    ],
  ])("responds to %s", async (line, response) => {
    expect(await talk(line)).toEqual([response]);
  });

  it("sends no response to notifications and empty lines, and continues after all of them", async () => {
    expect(
      await talk(
        "",
        '{"jsonrpc":"2.0","method":"x"}',
        '{"jsonrpc":"2.0","id":1,"result":{}}',
        '{"jsonrpc":"2.0","id":9,"method":"ping"}',
      ),
    ).toEqual([{ jsonrpc: "2.0", id: 9, result: {} }]);
  });

  it("rejects a line that is too long, and bounds what it keeps and sends", async () => {
    const long = call({ name: "echo", arguments: { text: "x".repeat(1 << 21) } });
    const written: unknown[] = [];
    const parts = [
      long.slice(0, 1_500_000),
      long.slice(1_500_000),
      `\n${call({ name: "echo", arguments: { text: "x" } })}\n`,
    ];
    await serveLines(server, Readable.from(parts), (line) => written.push(JSON.parse(line)));
    expect(written).toMatchObject([
      { id: null, error: { code: -32_700, message: "a line has more than 1048576 characters" } },
      { id: 1 },
    ]);
  });

  it("bounds the number of simultaneous calls", async () => {
    const waiting: (() => void)[] = [];
    const slow: Tool = {
      name: "slow",
      description: "",
      arguments: {},
      call: () => new Promise((resolve) => waiting.push(() => resolve(""))),
    };
    const busy = new McpServer({ name: "x", version: "1", instructions: "" }, [slow]);
    const calls = Array.from({ length: 9 }, (_, id) => busy.respond(call({ name: "slow" }, id)));
    expect(JSON.parse((await calls[8]) ?? "").error.code).toBe(-32_000);
    for (const finish of waiting) finish();
    expect((await Promise.all(calls)).length).toBe(9);
  });
});

it("offers actions only if they are allowed", () => {
  const names = (allows: boolean) => toolsFor({}, allows).map(({ name }) => name);
  expect(names(false)).toEqual(["explain", "status", "logs", "events", "deaths", "history"]);
  expect(names(true).slice(6)).toEqual(["restart", "reload", "scale", "drain", "undrain"]);
  expect(toolsFor({}, false).some(({ isAction }) => isAction)).toBe(false);
});
