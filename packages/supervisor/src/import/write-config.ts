/** Writes a configuration as a module, TOML or JSON, with a comment before each key that has one. Pure. */
import { type Imported, isTable, type Keys } from "./rules.js";

type ConfigFormat = "module" | "toml" | "json";

export interface ConfigText {
  /** The lines at the top of the file. */
  head: readonly string[];
  document: Keys;
  /** Comments by key path, for example `pools.web.app`. JSON has none. */
  comments?: Readonly<Record<string, string>>;
}

/** Returns the format that a file's name implies; undefined if a config cannot have that name. */
export function formatOf(path: string): ConfigFormat | undefined {
  if (path.endsWith(".toml")) return "toml";
  if (path.endsWith(".json")) return "json";
  return /\.(ts|mts|js|mjs)$/.test(path) ? "module" : undefined;
}

export function writeConfig(text: ConfigText, format: ConfigFormat): string {
  switch (format) {
    case "json":
      return `${JSON.stringify(text.document, null, 2)}\n`;
    case "module":
      return writeModule(text);
    case "toml":
      return writeToml(text);
    default:
      return format satisfies never;
  }
}

function writeModule({ head, document, comments = {} }: ConfigText): string {
  const table = (keys: Keys, path: string[], indent: string): string => {
    const lines = Object.entries(keys).flatMap(([key, value]) => {
      const at = [...path, key];
      const comment = comments[at.join(".")];
      const name = /^[A-Za-z_$][\w$]*$/.test(key) ? key : JSON.stringify(key);
      const shown = isTable(value) ? table(value, at, `${indent}  `) : inline(value);
      return [...(comment === undefined ? [] : [`${indent}  // ${comment}`]), `${indent}  ${name}: ${shown},`];
    });
    return lines.length === 0 ? "{}" : `{\n${lines.join("\n")}\n${indent}}`;
  };
  return `${head.map((line) => `// ${line}\n`).join("")}export default ${table(document, [], "")};\n`;
}

/** Values come before tables, because a table in TOML extends to the next one. */
function writeToml({ head, document, comments = {} }: ConfigText): string {
  const lines = head.map((line) => `# ${line}`);
  const table = (keys: Keys, path: string[]) => {
    const entries = Object.entries(keys);
    const values = entries.filter(([, value]) => !isTable(value));
    const comment = (key: string) => comments[[...path, key].join(".")];
    const name = (key: string) => (/^[\w-]+$/.test(key) ? key : JSON.stringify(key));
    if (path.length > 0 && values.length > 0) lines.push("", `[${path.map(name).join(".")}]`);
    for (const [key, value] of values) {
      const said = comment(key);
      if (said !== undefined) lines.push(`# ${said}`);
      lines.push(`${name(key)} = ${inline(value)}`);
    }
    for (const [key, value] of entries) {
      if (!isTable(value)) continue;
      const said = comment(key);
      if (said !== undefined) lines.push("", `# ${said}`);
      table(value, [...path, key]);
    }
  };
  table(document, []);
  return `${lines.join("\n")}\n`;
}

/** Text, numbers and lists look the same in all formats, except that TOML does not support the other \u escapes of JSON. */
function inline(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inline).join(", ")}]`;
  return typeof value === "string" ? JSON.stringify(value).replaceAll("\u007f", "\\u007f") : JSON.stringify(value);
}

/** A fleet of one app needs no `pools`. Keys of the fleet that pools also have are defaults for all pools. */
export function documentOf({ fleet, pools }: Imported): Keys {
  const [only, ...others] = Object.values(pools);
  const { balancer, ...first } = fleet;
  const last = balancer === undefined ? {} : { balancer };
  return only !== undefined && others.length === 0 ? { ...first, ...only, ...last } : { ...first, ...last, pools };
}
