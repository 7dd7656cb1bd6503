import { expect, test } from "vitest";
import { type Frame, frameText, placeInApp } from "./stacks.js";

const OWN = "/opt/paceline/dist/programs/";
const frame = (name: string, file: string, line = 7): Frame => ({ name, file, line });
const total = frame("total", "/srv/shop/app.js", 12);
const handler = frame("handler", "/srv/shop/app.js", 30);
const server = frame("serve", `${OWN}server/bin.js`);
const library = frame("parse", "/srv/shop/node_modules/csv/index.js");
const runtime = frame("processTimers", "node:internal/timers");

test.each<[string, Frame[], string | undefined]>([
  ["the app's function", [total, handler, server], "total (app.js:12)"],
  ["what the app called in a package", [library, total, server], "total (app.js:12), in parse (index.js:7)"],
  ["what the app called in the runtime", [runtime, total], "total (app.js:12), in processTimers (timers:7)"],
  ["a package alone", [library, runtime], "parse (index.js:7)"],
  ["our own code", [server, runtime], undefined],
  ["no code", [], undefined],
  ["an app with such a folder", [frame("f", "/srv/dist/programs/server/x.js")], "f (x.js:7)"],
  ["code without a file", [frame("", ""), total], "total (app.js:12), in (anonymous)"],
])("the place is %s", (_, frames, place) => expect(placeInApp(frames, OWN)).toBe(place));

test("a frame is shown with its place", () => {
  expect(frameText({ ...total, column: 9 })).toBe("total (/srv/shop/app.js:12:9)");
  expect(frameText(frame("", ""))).toBe("(anonymous)");
});
