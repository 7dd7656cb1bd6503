/** Finds the known word that a mistyped one most likely stands for. */
import { distance } from "fastest-levenshtein";

/** The nearest of `known`, when it is near enough to be meant; letter case counts for nothing. */
export function suggest(word: string, known: Iterable<string>): string | undefined {
  const allowed = Math.max(1, Math.floor(word.length / 3));
  let best: string | undefined;
  let bestDistance = allowed + 1;
  for (const candidate of known) {
    // A unit left out is as common a slip as a wrong letter.
    const spellings = [candidate, candidate.replace(/(Ms|Bytes)$/, "")];
    const edits = Math.min(...spellings.map((spelling) => distance(word.toLowerCase(), spelling.toLowerCase())));
    if (edits < bestDistance) {
      best = candidate;
      bestDistance = edits;
    }
  }
  return best;
}
