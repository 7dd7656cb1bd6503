/** Where this package's built files lie; whoever asks may itself be part of a bundle in a folder below. */

const BUILT = "/dist/";
const at = import.meta.url.lastIndexOf(BUILT);

/** The address of `dist/`. */
export const DIST_FOLDER =
  at < 0 ? new URL("../dist/", import.meta.url).href : import.meta.url.slice(0, at + BUILT.length);
