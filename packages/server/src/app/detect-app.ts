/** Tells by its shape what an export that is not a plain fetch object is: a framework's app, a server, or a bare function. */
import type { App, AppStyle, NodeApp, NodeHandler } from "../shared/app.js";

/** An app, or what is wrong with the export, to be read after the module's path. */
export type Detection = { app: App } | { problem: string };

const ACCEPTED =
  "must export by default an object with fetch(request, info), a fetch function, a Node (req, res) function, " +
  "or an app of Express, Koa, Fastify or Hono, or call listen() on a server of node:http";

/** @param style what the export is to be taken for, where the user said so. */
export function detectApp(exported: unknown, style?: AppStyle): Detection {
  const node = nodeShape(exported);
  if (node !== undefined && style !== "fetch") return node;
  const handler = method(exported, "fetch");
  if (handler !== undefined && style !== "node") return { app: { style: "fetch", handler: handler as never } };
  if (node !== undefined || handler !== undefined) {
    const found = node === undefined ? "an object with fetch" : "a Node app";
    return { problem: `exports ${found}, which style: "${style}" does not fit` };
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
          'say which with style: "fetch" or style: "node"',
      };
  }
}

/** What is called as node:http calls its listeners; undefined when the export has none of these shapes. */
function nodeShape(exported: unknown): Detection | undefined {
  const has = (...names: string[]) => names.every((name) => method(exported, name) !== undefined);
  // A server of node:http that does not listen: what is attached to it, such as ws or Socket.IO, takes part.
  if (has("listen", "address", "emit", "listenerCount") && field(exported, "listening") !== undefined) {
    if (field(exported, "listening") === true) {
      return { problem: "exports a server that listens already: leave its listen() to Paceline" };
    }
    return { app: appOfServer(exported as ServerShape) };
  }
  // Fastify. Its ready() runs the hooks of its plugins, as its close() does.
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

/** What is used of a server of node:http. */
export interface ServerShape {
  emit(event: string, ...args: unknown[]): boolean;
  listenerCount(event: string): number;
}

interface FastifyShape {
  server: ServerShape;
  routing: NodeHandler;
  ready(): unknown;
  close(): unknown;
}

/** The app whose handlers are the listeners of a server. */
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

/** A method of a value, bound to it. */
function method(value: unknown, name: string): unknown {
  const found = field(value, name);
  return typeof found === "function" ? found.bind(value) : undefined;
}

/**
 * By the source of a function:
 * - with fewer than two parameters it is a fetch function, since a Node handler cannot answer without its second one;
 * - with a second one named `res` or `response` it is a Node handler; with one named `info`, or taken apart as
 *   `{ clientAddress }`, a fetch function, since a response does not work when it is taken apart.
 *
 * Undefined where that decides nothing: other names, rest parameters, `arguments`, bound and native functions.
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

/** Each declared parameter as it is written, without comments; undefined when the source cannot be read that far. */
function parametersOf(source: string): string[] | undefined {
  const single = /^(?:async\s+)?([\w$]+)\s*=>/.exec(source)?.[1];
  if (single !== undefined) return [single];
  const list: string[] = [];
  let parameter = "";
  let depth = 0;
  let isList = false;
  for (const token of source.match(TOKENS) ?? []) {
    if (token.startsWith("//") || token.startsWith("/*")) continue;
    // A string without an end: something was not understood.
    if (/^["'`]$/.test(token)) return undefined;
    if (/^[)\]}]$/.test(token) && --depth === 0 && isList) {
      if (parameter.trim() !== "") list.push(parameter.trim());
      return list;
    }
    if (isList && depth === 1 && token === ",") {
      list.push(parameter.trim());
      parameter = "";
    } else if (isList) parameter += token;
    // What comes before the list can be a computed name, in brackets of its own.
    if (depth === 0 && token === "(") isList = true;
    if (/^[([{]$/.test(token)) depth++;
  }
  return undefined;
}

/** Comments, strings, and every other character by itself. */
const TOKENS = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`|[\s\S]/g;
