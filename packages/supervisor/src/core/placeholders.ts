/** Placeholders in the arguments and variables of a command: `{socket}`, `{port}`, `{host}`, `{name}`, `{bun}`. Pure. */

export const PLACEHOLDERS = ["socket", "port", "host", "name", "bun"] as const;

type Placeholder = (typeof PLACEHOLDERS)[number];

/** `{{word}}` stands for the text `{word}`; `${word}` is left to the shell. Words are in lower case. */
const PATTERN = /\{\{([a-z]+)\}\}|(\$?)\{([a-z]+)\}/g;

/** Returns the words in braces in `text`, including unknown ones. */
export function placeholdersIn(text: string): string[] {
  return [...text.matchAll(PATTERN)].flatMap(([, , dollar, word]) =>
    dollar === "" && word !== undefined ? [word] : [],
  );
}

/** Replaces each placeholder in the text. One without a value is kept. */
export function fillPlaceholders(text: string, values: Partial<Record<Placeholder, string | undefined>>): string {
  return text.replace(PATTERN, (whole: string, escaped: string | undefined, dollar: string, word: string) => {
    if (escaped !== undefined) return `{${escaped}}`;
    return dollar === "" ? (values[word as Placeholder] ?? whole) : whole;
  });
}
