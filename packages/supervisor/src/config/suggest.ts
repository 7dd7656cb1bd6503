/** Suggests the known word that a misspelt one most likely means. */
import { distance } from "fastest-levenshtein";

/** Returns the nearest of `known` if it is close enough; ignores letter case. */
export function suggest(word: string, known: Iterable<string>): string | undefined {
  const allowed = Math.max(1, Math.floor(word.length / 3));
  let best: string | undefined;
  let bestDistance = allowed + 1;
  for (const candidate of known) {
    // Forgetting the unit is as common as misspelling.
    const spellings = [candidate, candidate.replace(/(Ms|Bytes)$/, "")];
    const edits = Math.min(...spellings.map((spelling) => distance(word.toLowerCase(), spelling.toLowerCase())));
    if (edits < bestDistance) {
      best = candidate;
      bestDistance = edits;
    }
  }
  return best;
}
