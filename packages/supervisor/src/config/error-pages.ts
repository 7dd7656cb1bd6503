/** The key `errorPages`: files for the balancer's own responses. */
import { statSync } from "node:fs";
import type { RelayTraits } from "../core/model.js";
import { textTable } from "./fields.js";
import { resolveFile } from "./paths.js";

/** The balancer's own responses to requests of a pool. */
const STATUSES = ["404", "408", "413", "501", "502", "503", "504"];
const MAX_PAGE_BYTES = 65_536;

export const errorPagesField = textTable(
  'Files for the balancer\'s own responses, such as `{ "503": "busy.html" }`, relative to the config file\'s folder: 404, 408, 413, 501, 502, 503, 504. At most 64 KiB each; read at a start and a reload. The app\'s own responses are never replaced. See [operations.md](operations.md#error-pages).',
);

/** Resolves the pages of a pool. */
export function errorPages(
  given: Record<string, string> | undefined,
  baseDir: string,
  report: (status: string, message: string) => void,
): Pick<RelayTraits, "errorPages"> {
  const pages = Object.entries(given ?? {}).flatMap(([status, file]) => {
    const path = resolveFile(file, baseDir);
    const stat = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
    if (!STATUSES.includes(status)) report(status, `must be one of ${STATUSES.join(", ")}`);
    else if (path === undefined || stat === undefined) report(status, `there is no such file: ${file}`);
    else if (stat.size > MAX_PAGE_BYTES) report(status, `is larger than ${MAX_PAGE_BYTES} bytes: ${path}`);
    else return { status: Number(status), path, changedAt: Math.round(stat.mtimeMs) };
    return [];
  });
  return pages.length === 0 ? {} : { errorPages: pages };
}
