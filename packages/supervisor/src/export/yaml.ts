/** Writes YAML in block style with comments, as far as the exports need it. */

/** A key that begins with `#` is a comment at this position. Undefined keys are left out. */
export type Yaml = string | number | boolean | readonly Yaml[] | { readonly [key: string]: Yaml | undefined };

/** Returns the text of one document, with comment lines before it. */
export function yaml(value: { readonly [key: string]: Yaml | undefined }, comments: readonly string[] = []): string {
  return [...comments.map(comment), ...lines(value, "")].join("\n").concat("\n");
}

export function comment(text: string): string {
  return `# ${text}`;
}

function lines(value: Yaml, indent: string): string[] {
  if (Array.isArray(value)) return (value as readonly Yaml[]).flatMap((item) => itemLines(item, indent));
  if (typeof value !== "object") return [indent + scalar(value)];
  return Object.entries(value as { readonly [key: string]: Yaml | undefined }).flatMap(([key, of]) => {
    if (of === undefined) return [];
    if (key.startsWith("#")) return [`${indent}${comment(String(of))}`];
    const name = scalar(key);
    if (isInline(of)) return [`${indent}${name}: ${inline(of)}`];
    return [`${indent}${name}:`, ...lines(of, `${indent}  `)];
  });
}

/** The first line of an item is beside its dash. */
function itemLines(item: Yaml, indent: string): string[] {
  if (isInline(item)) return [`${indent}- ${inline(item)}`];
  const [first = "", ...rest] = lines(item, `${indent}  `);
  return [`${indent}- ${first.trimStart()}`, ...rest];
}

function isInline(value: Yaml): boolean {
  return typeof value !== "object" || Object.keys(value).length === 0;
}

function inline(value: Yaml): string {
  if (typeof value === "object") return Array.isArray(value) ? "[]" : "{}";
  return scalar(value);
}

/** Words that a parser of YAML 1.1 or 1.2 reads as something other than text. */
const SPECIAL = /^(?:true|false|yes|no|on|off|y|n|null|nan|inf|e[-+]?[\d_]+)$/i;
const PLAIN = /^[A-Za-z_/][\w./@-]*(?::[\w./@-]+)*$/;

function scalar(value: string | number | boolean): string {
  if (typeof value !== "string") return String(value);
  // Every JSON text is also YAML.
  return PLAIN.test(value) && !SPECIAL.test(value) ? value : JSON.stringify(value);
}
