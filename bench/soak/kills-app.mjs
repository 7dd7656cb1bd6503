/** The app of the kills soak: its handler first writes a record that outlives the process. */
import { openSync, writeSync } from "node:fs";
import process from "node:process";

/** The ids of requests whose handler was called, and the ids of completed ones; each is one write with O_APPEND. */
const entered = openSync(process.env.KILLS_ENTERED ?? "", "a");
const done = openSync(process.env.KILLS_DONE ?? "", "a");

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const die = () => process.kill(process.pid, "SIGKILL");

async function* inTwoPieces(id) {
  yield id;
  await pause(5);
  yield "\n";
}

export default {
  fetch(request) {
    const id = request.headers.get("x-id");
    if (id === null) return new Response("Hello World!\n");
    writeSync(entered, `${id}\n`);
    const how = request.headers.get("x-how");
    if (how === "dies-before") die();
    writeSync(done, `${id}\n`);
    if (how === "dies-after") die();
    if (how === "slow") return pause(1 + Math.random() * 20).then(() => new Response(`${id}\n`));
    if (how === "body") return request.text().then((text) => new Response(`${id} ${text.length}\n`));
    if (how === "streams") return new Response(inTwoPieces(id));
    return new Response(`${id}\n`);
  },
};
