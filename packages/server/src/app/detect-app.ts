/** Detects by its shape what an export is if it is not a plain fetch object: a framework's app, a server, or a function. */
import type { App, AppStyle, NodeApp, NodeHandler } from "../shared/app.js";

/** An app, or the problem of the export, as text that follows the module's path. */
type Detection = { app: App } | { problem: string };

const ACCEPTED =
  "must export by default an object with fetch(request, info), a fetch function, a Node (req, res) function, " +
  "or an app of Express, Koa, Fastify or Hono, or call listen() on a server of node:http";

/** @param style the style that the user has set, if any */
export function detectApp(exported: unknown, style?: AppStyle): Detection {
  const node = nodeShape(exported);
  if (node !== undefined && style !== "fetch") return node;
  const handler = method(exported, "fetch");
  if (handler !== undefined && style !== "node") return { app: { style: "fetch", handler: handler as never } };
  if (node !== undefined || handler !== undefined) {
    const found = node === undefined ? "an object with fetch" : "a Node app";
    return { problem: `exports ${found}, which does not match style: "${style}"` };
  }
  return typeof exported === "function" ? functionOf(exported, style) : { problem: ACCEPTED };
}

function functionOf(exported: NonNullable<object>, style: AppStyle | undefined): Detection {
  const handler = exported as never;
  switch (style ?? styleOfFunction(String(exported))) {
    case "fetch":
      return { app: { style: "fetch", handler } };
    case "node":
      return { app: { style: "node", handler } };
    case "class":
      return { problem: `exports a class by default; it ${ACCEPTED}` };
    case undefined:
      return {
        problem:
          "exports a function that can be a fetch function (request, info) or a Node handler (req, res): " +
          "name its second parameter info or res, or " +
          'say which with the key style: "fetch" or style: "node" of its pool in the config, or with --style of paceline serve',
      };
  }
}

/** Returns a handler called like a node:http listener; undefined if the export has none of these shapes. */
function nodeShape(exported: unknown): Detection | undefined {
  const has = (...names: string[]) => names.every((name) => method(exported, name) !== undefined);
  // A node:http server that does not listen: anything attached to it, such as ws or Socket.IO, works.
  if (has("listen", "address", "emit", "listenerCount") && field(exported, "listening") !== undefined) {
    if (field(exported, "listening") === true) {
      return { problem: "exports a server that listens already: leave its listen() to Paceline" };
    }
    return { app: appOfServer(exported as ServerShape) };
  }
  // Fastify. Its ready() and close() run the hooks of its plugins.
  if (has("ready", "routing", "close") && isObject(field(exported, "server"))) {
    const { ready, routing, close, server } = exported as FastifyShape;
    return {
      app: {
        ...appOfServer(server),
        ...(server.listenerCount("request") === 0 ? { handler: routing } : {}),
        start: ready.bind(exported),
        stop: close.bind(exported),
      },
    };
  }
  // Koa.
  if (has("callback", "use") && Array.isArray(field(exported, "middleware"))) {
    const handler = (exported as { callback(): NodeHandler }).callback();
    return { app: { style: "node", handler } };
  }
  // Express and Connect: a function that is also their app.
  if (typeof exported === "function" && has("handle", "use", "listen")) {
    return { app: { style: "node", handler: exported as NodeHandler } };
  }
  return undefined;
}

/** The parts of a node:http server used here. */
interface ServerShape {
  emit(event: string, ...args: unknown[]): boolean;
  listenerCount(event: string): number;
}

interface FastifyShape {
  server: ServerShape;
  routing: NodeHandler;
  ready(): unknown;
  close(): unknown;
}

/** Returns an app that calls a server's listeners. */
export function appOfServer(server: ServerShape): NodeApp {
  return {
    style: "node",
    handler: (request, response) => void server.emit("request", request, response),
    upgrade: () =>
      server.listenerCount("upgrade") === 0
        ? undefined
        : (request, socket, head) => server.emit("upgrade", request, socket, head),
  };
}

function isObject(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

function field(value: unknown, name: string): unknown {
  return isObject(value) ? (value as Record<string, unknown>)[name] : undefined;
}

/** Returns a method of a value, bound to it. */
function method(value: unknown, name: string): unknown {
  const found = field(value, name);
  return typeof found === "function" ? found.bind(value) : undefined;
}

/**
 * Detects the style from a function's source:
 * - With fewer than two parameters it is a fetch function: a Node handler needs its second one to respond.
 * - With a second parameter `res` or `response` it is a Node handler.
 * - With `info`, or destructured as `{ clientAddress }`, it is a fetch function: a destructured response does not work.
 *
 * Returns undefined if undecided: other names, rest parameters, `arguments`, bound and native functions.
 */
export function styleOfFunction(source: string): "fetch" | "node" | "class" | undefined {
  if (/^class\b/.test(source)) return "class";
  if (/\{\s*\[native code\]\s*\}$/.test(source)) return undefined;
  const parameters = parametersOf(source);
  if (parameters === undefined || parameters.slice(0, 2).some((it) => it.startsWith("..."))) return undefined;
  const [, second] = parameters;
  if (second === undefined) return /\barguments\b/.test(source) ? undefined : "fetch";
  if (second.startsWith("{")) return "fetch";
  const name = /^[\w$]+/.exec(second)?.[0] ?? "";
  if (/^_*res(?:p|ponse)?$/i.test(name)) return "node";
  if (/^_*(?:request)?info$/i.test(name)) return "fetch";
  return undefined;
}

/** Returns the source of each parameter, without comments; undefined if it cannot be parsed. */
function parametersOf(source: string): string[] | undefined {
  const single = /^(?:async\s+)?([\w$]+)\s*=>/.exec(source)?.[1];
  if (single !== undefined) return [single];
  const list: string[] = [];
  let parameter = "";
  let depth = 0;
  let isList = false;
  for (const token of source.match(TOKENS) ?? []) {
    if (token.startsWith("//") || token.startsWith("/*")) continue;
    // An unterminated string: the parser misread something.
    if (/^["'`]$/.test(token)) return undefined;
    if (/^[)\]}]$/.test(token) && --depth === 0 && isList) {
      if (parameter.trim() !== "") list.push(parameter.trim());
      return list;
    }
    if (isList && depth === 1 && token === ",") {
      list.push(parameter.trim());
      parameter = "";
    } else if (isList) parameter += token;
    // A computed name, with its own brackets, may precede the list.
    if (depth === 0 && token === "(") isList = true;
    if (/^[([{]$/.test(token)) depth++;
  }
  return undefined;
}

/** Comments, strings, and single characters. */
const TOKENS = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`|[\s\S]/g;
