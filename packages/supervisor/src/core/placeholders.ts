/** What stands for something else in the arguments and variables of a command: `{socket}`, `{port}`, `{host}`, `{name}`, `{bun}`. Pure. */

export const PLACEHOLDERS = ["socket", "port", "host", "name", "bun"] as const;

export type Placeholder = (typeof PLACEHOLDERS)[number];

/** `{{word}}` is the text `{word}`; `${word}` is left to a shell; a word is written in small letters. */
const PATTERN = /\{\{([a-z]+)\}\}|(\$?)\{([a-z]+)\}/g;

/** The words in braces that `text` has, whether they are placeholders or not. */
export function placeholdersIn(text: string): string[] {
  return [...text.matchAll(PATTERN)].flatMap(([, , dollar, word]) =>
    dollar === "" && word !== undefined ? [word] : [],
  );
}

/** The text with each placeholder replaced; one without a value is left as it is. */
export function fillPlaceholders(text: string, values: Partial<Record<Placeholder, string | undefined>>): string {
  return text.replace(PATTERN, (whole: string, escaped: string | undefined, dollar: string, word: string) => {
    if (escaped !== undefined) return `{${escaped}}`;
    return dollar === "" ? (values[word as Placeholder] ?? whole) : whole;
  });
}
