/** Cases that were found once: each is replayed by the tests. */
import { readdirSync, readFileSync } from "node:fs";
import type { FoundCase } from "../checks/check.js";

const FOLDER = new URL("./", import.meta.url);

/** All cases in this folder's JSON files, each of which holds a list of what `npm run fuzz` prints. */
export function corpus(): FoundCase[] {
  return readdirSync(FOLDER)
    .filter((name) => name.endsWith(".json"))
    .flatMap((name) => JSON.parse(readFileSync(new URL(name, FOLDER), "utf8")) as FoundCase[]);
}
