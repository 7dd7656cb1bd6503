/** The key `balancer.accessLog`: whether, where and how requests are logged. */
import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type AccessLogRule, COMBINED, parseTemplate } from "@paceline/wire/access-log";
import { expected, fieldOf, flag, fraction, table, text } from "./fields.js";

const ruleFields = {
  format: text(
    'Default: `"combined"`, the format of Apache and nginx, then the duration in seconds and the instance. `"json"`: one object per line with all fields. Otherwise a template such as `"{time} {method} {target} {status}"`; see [access-log.md](access-log.md#fields).',
  ),
  file: text(
    "The file to append to, relative to the config file's folder; its folder must exist. All balancers write to it, and SIGUSR1 to the supervisor opens it anew. Default: the balancer's output, which `paceline logs balancer` shows.",
  ),
  sample: fraction(1, "The share of requests that are logged, such as `0.01`. Responses of 5xx are always logged.", {
    min: 0,
    max: 1,
  }),
};

export const accessLog = fieldOf(
  [flag(false, "").unwrap(), table(ruleFields, "").unwrap()],
  expected("must be true, false, or a table with `format`, `file` and `sample`"),
  {
    type: "true, false or table",
    default: false,
    description:
      "Log a line for each request to every kind of pool. `true`: in the combined format to the balancer's output. A table has `format`, `file` and `sample`. See [access-log.md](access-log.md).",
  },
);

type Given = boolean | { format?: string | undefined; file?: string | undefined; sample?: number | undefined };

/** Returns undefined without an access log. */
export function resolveAccessLog(
  given: Given | undefined,
  baseDir: string,
  report: (path: string[], message: string) => void,
): AccessLogRule | undefined {
  if (given === undefined || given === false) return undefined;
  const { format = "combined", file, sample = 1 } = given === true ? {} : given;
  const template = format === "combined" ? COMBINED : format;
  const parsed = template === "json" ? [] : parseTemplate(template);
  if (typeof parsed === "string") report(["format"], parsed);
  if (file === undefined) return { format: template, sample };
  const path = resolve(baseDir, file);
  if (statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory() !== true)
    report(["file"], `there is no folder ${dirname(path)}`);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) report(["file"], `${path} is a folder`);
  return { format: template, file: path, sample };
}
