/** The keys of a pool for responses: `compress`, and `errorPages` for responses that the balancer generates itself. */
import { statSync } from "node:fs";
import type { CompressRule } from "@paceline/wire";
import type { RelayTraits } from "../core/model.js";
import { bytes, count, defaultsOf, expected, fieldOf, flag, table, texts, textTable, words } from "./fields.js";
import { resolveFile } from "./paths.js";

/** The codings of responses, and of the precompressed files of a static pool. */
export const CODINGS = ["br", "zstd", "gzip"] as const;

const ruleFields = {
  codings: words(CODINGS, "The content codings that may be used. `zstd` needs Bun or Node 22.15 for the balancers."),
  types: texts(
    'The media types that are compressed, such as `"text/html"`, `"text/*"` or `"*+json"`. Default: text, JSON, XML, JavaScript, WebAssembly, SVG and similar types.',
  ),
  minBytes: bytes(1024, "Shorter bodies are not compressed, if their length is known."),
  maxStreams: count(
    256,
    "How many bodies of the pool each balancer compresses at once; each takes up to 0.3 MB until its client has read it. Further bodies are sent uncompressed.",
    { max: 100_000 },
  ),
  secrets: flag(
    false,
    "Also compress responses that may contain secrets, although their length can then reveal the secrets (BREACH). See [compression.md](compression.md#secrets).",
  ),
};

export const compressField = fieldOf(
  [flag(false, "").unwrap(), table(ruleFields, "").unwrap()],
  expected("must be true, false, or a table with `codings`, `types`, `minBytes`, `maxStreams` and `secrets`"),
  {
    type: "true, false or table",
    default: false,
    description:
      "Compress responses for clients that accept compression. `true`: with the defaults. Static pools send precompressed files instead. See [compression.md](compression.md).",
  },
);

type Given = boolean | { [K in keyof CompressRule]?: CompressRule[K] | undefined };

const DEFAULTS = defaultsOf(ruleFields) as Pick<CompressRule, "minBytes" | "maxStreams" | "secrets">;
/** `text/html`, `text/*` or `*+json`. */
const MEDIA_TYPE = /^(?:[\w.+-]+\/(?:\*|[\w.+-]+)|\*\+[\w.-]+)$/;

/** Returns the rule for the balancers; an empty object if no response is compressed. */
export function resolveCompress(
  given: Given | undefined,
  kind: string,
  isOwn: boolean,
  report: (path: (string | number)[], message: string) => void,
): { compress?: CompressRule } {
  if (given === undefined || given === false) return {};
  if (kind === "static") {
    if (isOwn)
      report([], "is not valid in `static` pools: they send precompressed files, see `staticOptions.precompressed`");
    return {};
  }
  const { codings, types, minBytes, maxStreams, secrets } = given === true ? {} : given;
  if (codings?.length === 0) report(["codings"], `must name at least one of ${CODINGS.join(", ")}`);
  for (const [at, type] of (types ?? []).entries())
    if (!MEDIA_TYPE.test(type))
      report(
        ["types", at],
        `must be a media type such as "text/html", "text/*" or "*+json", not ${JSON.stringify(type)}`,
      );
  return {
    compress: {
      ...(codings !== undefined && { codings }),
      ...(types !== undefined && { types }),
      minBytes: minBytes ?? DEFAULTS.minBytes,
      maxStreams: maxStreams ?? DEFAULTS.maxStreams,
      secrets: secrets ?? DEFAULTS.secrets,
    },
  };
}

/** The statuses of responses that the balancer generates itself for requests of a pool. */
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
