/** Cases found by fuzzing: the tests replay each. */
import { readdirSync, readFileSync } from "node:fs";
import type { FoundCase } from "../checks/check.js";

const FOLDER = new URL("./", import.meta.url);

/** Returns all cases in this folder's JSON files, each a list of what `npm run fuzz` prints. */
export function corpus(): FoundCase[] {
  return readdirSync(FOLDER)
    .filter((name) => name.endsWith(".json"))
    .flatMap((name) => JSON.parse(readFileSync(new URL(name, FOLDER), "utf8")) as FoundCase[]);
}
