/** Shows control characters as escapes, so that text of others cannot move the cursor, clear the screen or speak to the terminal. */

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** `text` with `\x1b` and the like in the place of control characters; tabs and ends of lines stay. */
export function visible(text: string): string {
  return text.replace(CONTROL, (character) =>
    character === "\r" ? "\\r" : `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
