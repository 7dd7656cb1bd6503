/** Loads http-proxy, without what it does wrong by itself, and without its warnings. */
import type { IncomingMessage } from "node:http";
import { parse, type UrlWithStringQuery } from "node:url";
import type Server from "http-proxy";
import { bareHost, type ProxySettings } from "./settings.js";

type Pass = (...args: never[]) => unknown;

/** The steps that an instance of the library takes for each request, in their order; `@types` leaves them out. */
interface Passes {
  webPasses: Pass[];
  wsPasses: Pass[];
}

/** A proxy of the library's for one upstream. What head and path the upstream gets is decided elsewhere. */
export async function loadLibrary(settings: ProxySettings): Promise<Server> {
  // It calls what Node has replaced since; the process runs no code of the user's, whose own warnings this would hide.
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
    // The path is ours: the library would make one slash of two, and write anew what it does not like.
    toProxy: true,
    ignorePath: true,
    prependPath: false,
  });
  const passes = library as unknown as Passes;
  // `deleteLength` takes the framing off a body; `checkMethodAndHeader` cuts clients that ask for an upgrade it does not know.
  passes.webPasses = passes.webPasses.filter(({ name }) => name !== "deleteLength");
  passes.wsPasses = passes.wsPasses.filter(({ name }) => name !== "checkMethodAndHeader");
  // Faults are heard of from the request to the upstream itself; without a listener the library throws them.
  library.on("error", () => {});
  return library;
}

/** The library takes nothing but the result of Node's old parser. */
function upstreamOf({ url }: ProxySettings): UrlWithStringQuery {
  return Object.assign(parse(url.origin), { hostname: bareHost(url), path: null });
}

/** Gives the library a message whose fields are `headers`. */
export function setFields(message: IncomingMessage, headers: IncomingMessage["headers"]): void {
  message.headers = headers;
}
