/** Shows control characters as escapes, so that text of others cannot move the cursor, clear the screen, reorder a line or speak to the terminal. */

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/**
 * `text` with `\x1b` and the like in the place of control characters, and `\u202e` in that of marks of direction and of
 * ends of lines outside ASCII; tabs and ends of lines stay.
 */
export function visible(text: string): string {
  return text.replace(CONTROL, (character) => {
    if (character === "\r") return "\\r";
    const code = character.charCodeAt(0);
    // JSON has none of the first kind in it, and knows the escapes of the second.
    return code < 0x20 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** As `visible`, with the ends of lines as escapes too: for a name or a path within a line of ours. */
export function visibleLine(text: string): string {
  return visible(text).replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}
