/** Loads http-proxy without its bugs and its warnings. */
import type { IncomingMessage } from "node:http";
import { parse, type UrlWithStringQuery } from "node:url";
import type Server from "http-proxy";
import { bareHost, type ProxySettings } from "./settings.js";

type Pass = (...args: never[]) => unknown;

/** The library's steps for each request, in order; `@types` lacks them. */
interface Passes {
  webPasses: Pass[];
  wsPasses: Pass[];
}

/** Creates the library's proxy for one upstream. Head and path are decided elsewhere. */
export async function loadLibrary(settings: ProxySettings): Promise<Server> {
  // The library calls deprecated functions; this process runs no user code whose warnings this would hide.
  process.noDeprecation = true;
  const { default: Library } = await import("http-proxy");
  const target = upstreamOf(settings);
  const { changeOrigin, secure, ca, cookieDomainRewrite, cookiePathRewrite } = settings;
  const library = new Library({
    target: target as never,
    changeOrigin,
    secure,
    ...(ca === undefined ? {} : { ssl: { ca } }),
    cookieDomainRewrite: (cookieDomainRewrite ?? false) as never,
    cookiePathRewrite: (cookiePathRewrite ?? false) as never,
    // Keeps the path: the library would merge slashes and rewrite it.
    toProxy: true,
    ignorePath: true,
    prependPath: false,
  });
  const passes = library as unknown as Passes;
  // `deleteLength` removes the framing of a body; `checkMethodAndHeader` cuts clients that request an upgrade it does not know.
  passes.webPasses = passes.webPasses.filter(({ name }) => name !== "deleteLength");
  passes.wsPasses = passes.wsPasses.filter(({ name }) => name !== "checkMethodAndHeader");
  // The upstream request reports failures; without a listener the library throws them.
  library.on("error", () => {});
  return library;
}

/** The library accepts only the result of Node's legacy parser. */
function upstreamOf({ url }: ProxySettings): UrlWithStringQuery {
  return Object.assign(parse(url.origin), { hostname: bareHost(url), path: null });
}

/** Gives the library a message with these `headers`. */
export function setFields(message: IncomingMessage, headers: IncomingMessage["headers"]): void {
  message.headers = headers;
}
