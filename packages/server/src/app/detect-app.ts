/** Tells by its shape what an export that is not a plain fetch object is: a framework's app, a server, or a bare function. */
import type { App, AppStyle, NodeApp, NodeHandler } from "../shared/app.js";
import { styleOfFunction } from "./function-style.js";

/** An app, or what is wrong with the export, to be read after the module's path. */
export type Detection = { app: App } | { problem: string };

const ACCEPTED =
  "must export by default an object with fetch(request, info), a fetch function, a Node (req, res) function, " +
  "or an app of Express, Koa, Fastify or Hono";

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

function appOfServer(server: ServerShape): NodeApp {
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
