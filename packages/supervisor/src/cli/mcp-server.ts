/** The Model Context Protocol over lines of JSON-RPC 2.0 (https://modelcontextprotocol.io/specification): initialize, ping, tools/list and tools/call. */
import type { Readable } from "node:stream";
import { PacelineError } from "../errors.js";

/** The versions that this server supports, newest first. If a client asks for another version, it is offered the first one. */
const PROTOCOL_VERSIONS = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const MAX_LINE_CHARACTERS = 1 << 20;
const MAX_TEXT_CHARACTERS = 60_000;
/** The maximum number of concurrent calls; further ones are refused. */
const MAX_CALLS = 8;

/** JSON-RPC's error codes. */
const PARSE_ERROR = -32_700;
const INVALID_REQUEST = -32_600;
const METHOD_NOT_FOUND = -32_601;
const INVALID_PARAMS = -32_602;
const INTERNAL_ERROR = -32_603;
const TOO_MANY = -32_000;

/** The kinds of arguments that tools have. */
export type ToolArgument = {
  type: "string" | "integer";
  description: string;
  minimum?: number;
  maximum?: number;
  isRequired?: true;
};

export type ToolArguments = Readonly<Record<string, string | number | undefined>>;

export interface Tool {
  name: string;
  description: string;
  arguments: Readonly<Record<string, ToolArgument>>;
  /** Whether it changes the fleet. */
  isAction?: true;
  /**
   * Returns the text for the assistant.
   * @throws PacelineError, which the assistant also gets
   */
  call(args: ToolArguments): Promise<string>;
}

interface Request {
  id: string | number | null;
  method: string;
  params: Record<string, unknown>;
}

class RpcError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

export class McpServer {
  private calls = 0;

  constructor(
    private readonly server: { name: string; version: string; instructions: string },
    private readonly tools: readonly Tool[],
  ) {}

  /** Returns the response to a line, as a line; undefined if it needs none. */
  async respond(line: string): Promise<string | undefined> {
    let id: Request["id"] = null;
    try {
      const message = parse(line);
      const request = requestOf(message);
      // A notification, or a response although no request was sent.
      if (request === undefined) return undefined;
      id = request.id;
      return JSON.stringify({ jsonrpc: "2.0", id, result: await this.result(request) });
    } catch (error) {
      if (error instanceof InvalidRequest) id = error.id;
      const [code, message] = error instanceof RpcError ? [error.code, error.message] : [INTERNAL_ERROR, String(error)];
      return JSON.stringify({ jsonrpc: "2.0", id, error: { code, message } });
    }
  }

  private async result({ method, params }: Request): Promise<object> {
    const { name, version, instructions } = this.server;
    switch (method) {
      case "initialize":
        return {
          protocolVersion: PROTOCOL_VERSIONS.find((known) => known === params.protocolVersion) ?? PROTOCOL_VERSIONS[0],
          capabilities: { tools: {} },
          serverInfo: { name, version },
          instructions,
        };
      case "ping":
        return {};
      case "tools/list":
        return { tools: this.tools.map(describe) };
      case "tools/call":
        return this.call(params);
      default:
        throw new RpcError(METHOD_NOT_FOUND, `there is no method ${JSON.stringify(method.slice(0, 100))}`);
    }
  }

  private async call({ name, arguments: given = {} }: Record<string, unknown>): Promise<object> {
    const tool = this.tools.find((each) => each.name === name);
    if (tool === undefined) {
      const known = this.tools.map((each) => each.name).join(", ");
      throw new RpcError(INVALID_PARAMS, `there is no tool ${JSON.stringify(name)?.slice(0, 100)} (known: ${known})`);
    }
    const args = checked(tool, given);
    if (this.calls >= MAX_CALLS) throw new RpcError(TOO_MANY, `${MAX_CALLS} calls are under way; wait for one of them`);
    this.calls++;
    try {
      return { content: [{ type: "text", text: bounded(await tool.call(args)) }] };
    } catch (error) {
      // The assistant can do something about these errors.
      const text =
        error instanceof PacelineError ? [error.message, ...error.lastLines].join("\n") : `internal error: ${error}`;
      return { content: [{ type: "text", text: bounded(text) }], isError: true };
    } finally {
      this.calls--;
    }
  }
}

function describe({ name, description, arguments: args, isAction }: Tool): object {
  const properties = Object.entries(args).map(([key, { isRequired: _, ...schema }]) => [key, schema]);
  const required = Object.entries(args).flatMap(([key, { isRequired }]) => (isRequired ? [key] : []));
  return {
    ...{ name, description },
    inputSchema: {
      type: "object",
      properties: Object.fromEntries(properties),
      ...(required.length > 0 && { required }),
      additionalProperties: false,
    },
    annotations: { readOnlyHint: isAction !== true, openWorldHint: false },
  };
}

/** @throws RpcError that names every problem */
function checked(tool: Tool, given: unknown): ToolArguments {
  if (!isTable(given)) throw new RpcError(INVALID_PARAMS, `${tool.name}: arguments must be an object`);
  const problems = [
    ...Object.keys(given).flatMap((key) =>
      Object.hasOwn(tool.arguments, key) ? [] : [`there is no argument ${JSON.stringify(key.slice(0, 100))}`],
    ),
    ...Object.entries(tool.arguments).flatMap(([key, rule]) => problemOf(key, rule, given[key])),
  ];
  if (problems.length > 0) throw new RpcError(INVALID_PARAMS, `${tool.name}: ${problems.join("; ")}`);
  return given as ToolArguments;
}

function problemOf(
  key: string,
  { type, minimum = 0, maximum = 1e9, isRequired }: ToolArgument,
  value: unknown,
): string[] {
  if (value === undefined) return isRequired ? [`${key} is missing`] : [];
  if (type === "string")
    return typeof value === "string" && value !== "" && value.length <= 1_000
      ? []
      : [`${key} must be text of at most 1000 characters`];
  const isIn = Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= maximum;
  return isIn ? [] : [`${key} must be a whole number from ${minimum} to ${maximum}`];
}

function bounded(text: string): string {
  if (text.length <= MAX_TEXT_CHARACTERS) return text;
  return `[the first ${text.length - MAX_TEXT_CHARACTERS} characters are omitted]\n${text.slice(-MAX_TEXT_CHARACTERS)}`;
}

class InvalidRequest extends RpcError {
  constructor(
    message: string,
    readonly id: Request["id"] = null,
    code = INVALID_REQUEST,
  ) {
    super(code, message);
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new RpcError(PARSE_ERROR, `not JSON: ${(error as Error).message}`);
  }
}

/**
 * Returns undefined for messages that need no response.
 * @throws InvalidRequest
 */
function requestOf(message: unknown): Request | undefined {
  if (!isTable(message)) throw new InvalidRequest("a message must be one object");
  const { jsonrpc, id, method, params = {} } = message;
  const known = typeof id === "string" || Number.isFinite(id) ? (id as string | number) : null;
  if (jsonrpc !== "2.0") throw new InvalidRequest('"jsonrpc" must be "2.0"', known);
  if (method === undefined && ("result" in message || "error" in message)) return undefined;
  if (typeof method !== "string") throw new InvalidRequest('"method" must be text', known);
  if (!("id" in message)) return undefined;
  if (known === null) throw new InvalidRequest('"id" must be text or a number');
  if (!isTable(params)) throw new InvalidRequest('"params" must be an object', known, INVALID_PARAMS);
  return { id: known, method, params };
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Responds to each line of `input` with `write`, until the input ends. Lines that are too long are refused and skipped. */
export async function serveLines(server: McpServer, input: Readable, write: (line: string) => void): Promise<void> {
  const running = new Set<Promise<void>>();
  let line = "";
  let isTooLong = false;
  const take = (text: string) => {
    if (isTooLong) {
      isTooLong = false;
      return write(
        JSON.stringify({
          jsonrpc: "2.0",
          id: null,
          error: { code: PARSE_ERROR, message: `a line has more than ${MAX_LINE_CHARACTERS} characters` },
        }),
      );
    }
    if (text.trim() === "") return;
    const responded = server.respond(text).then((response) => {
      if (response !== undefined) write(response);
    });
    const done = responded.finally(() => running.delete(done));
    running.add(done);
  };
  input.setEncoding("utf8");
  for await (const chunk of input as AsyncIterable<string>) {
    const [first = "", ...others] = chunk.split("\n");
    if (!isTooLong) line += first;
    for (const next of others) {
      take(line);
      line = next;
    }
    if (line.length > MAX_LINE_CHARACTERS) {
      isTooLong = true;
      line = "";
    }
  }
  take(line);
  await Promise.all(running);
}
