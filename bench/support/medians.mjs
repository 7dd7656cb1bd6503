/** Medians and means of the samples of several rounds. */

export function median(values) {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length === 0) return undefined;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Returns the median of each key over the samples, rounded to three decimals; undefined if no sample has it. */
export function medians(samples, keys) {
  return Object.fromEntries(
    keys.map((key) => {
      const value = median(samples.map((sample) => sample[key]).filter((each) => each !== undefined));
      return [key, value === undefined ? undefined : Number(value.toFixed(3))];
    }),
  );
}

export const sum = (values) => values.reduce((total, value) => total + value, 0);

/** Returns the mean of these values and its standard error. */
export function meanAndError(values) {
  const mean = sum(values) / values.length;
  const variance = sum(values.map((value) => (value - mean) ** 2)) / (values.length - 1);
  return { mean, error: Math.sqrt(variance / values.length) };
}

/**
 * Returns the mean of these values without this share of them at either end, and its standard error (Yuen, from the winsorized variance). With
 * few values, the same as `meanAndError`.
 */
export function trimmedMeanAndError(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  const cut = Math.floor(share * sorted.length);
  const kept = sorted.slice(cut, sorted.length - cut);
  const winsorized = sorted.map((value) => Math.min(Math.max(value, kept[0]), kept.at(-1)));
  const { error } = meanAndError(winsorized);
  return { mean: sum(kept) / kept.length, error: (error * sorted.length) / kept.length };
}
