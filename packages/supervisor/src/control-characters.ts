/** Escapes control characters, so that foreign text cannot move the cursor, reorder a line or control the terminal. */

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/**
 * Returns `text` with control characters as `\x1b`, and direction marks and non-ASCII line breaks as `\u202e`. Tabs and line
 * feeds stay.
 */
export function visible(text: string): string {
  return text.replace(CONTROL, (character) => {
    if (character === "\r") return "\\r";
    const code = character.charCodeAt(0);
    // JSON never contains the first kind unescaped, and its parsers understand the second kind.
    return code < 0x20 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** Like `visible`, but also escapes line breaks and tabs: for a name or path within a line. */
export function visibleLine(text: string): string {
  return visible(text).replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}
