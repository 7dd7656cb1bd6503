// Votes are saved when the burst that brought them is over: one save for all of them.
import { writeFile } from "node:fs/promises";
import { defer } from "paceline/server";

const file = process.env.VOTES_FILE ?? `/tmp/paceline-votes-${process.env.PACELINE_INSTANCE ?? "alone"}.json`;
let votes = 0;
let saves = 0;

async function save() {
  saves++;
  await writeFile(file, JSON.stringify({ votes, saves }));
}

export default {
  fetch() {
    votes++;
    defer(save, undefined, { combined: true });
    return new Response(`vote ${votes}, saved ${saves} times\n`);
  },
};
