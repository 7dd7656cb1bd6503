/** Calls a fetch app for the supervisor to check its health; loaded if a pool has a readyPath or healthPath. */
import { problemOfStatus } from "@paceline/wire";
import { fileBodyOf } from "../kinds/static/file-body.js";
import type { FetchHandler } from "../shared/app.js";
import { errorLine } from "../shared/errors.js";
import { ConnectionInfo } from "./request-info.js";

/** Returns the problem, or undefined. Never rejects. */
export async function probeApp(handler: FetchHandler, path: string, host: string): Promise<string | undefined> {
  const request = new Request(`http://${host}${path}`);
  const info = new ConnectionInfo({
    header: (name) => request.headers.get(name) ?? (name === "host" ? host : undefined),
    remoteAddress: () => "127.0.0.1",
    signal: () => request.signal,
  });
  try {
    const response = await handler(request, info);
    if (!(response instanceof Response)) return `GET ${path}: the app returned no Response`;
    const file = fileBodyOf(response);
    if (file !== undefined) file.close();
    else await response.body?.cancel();
    return problemOfStatus(response.status, path);
  } catch (error) {
    return `GET ${path} failed: ${errorLine(error)}`;
  }
}
