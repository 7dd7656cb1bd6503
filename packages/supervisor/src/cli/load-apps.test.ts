/** `paceline check` names the reason why an app did not load, in the words of `start`. */
import { expect, test } from "vitest";
import { loadFailureOf } from "./load-apps.js";

const POOL = { source: "/a.js", workload: { app: "/a.js" } };

test.each<[string, number | string, string, string, string[]]>([
  [
    "an app that never listens",
    "late",
    "connecting\n\nstill loading: its module is loading\nstill loading: its module exports no app\n",
    "/a.js did not load within 3 s (readyTimeoutMs): its module exports no app; start it with --worker if it serves nothing",
    ["connecting"],
  ],
  ["one that blocks", "late", "", "/a.js did not load within 3 s (readyTimeoutMs)", []],
  [
    "a missing module",
    1,
    "/a.js failed to load: Cannot find module 'x'\nRequire stack:\n- /lib.js\n",
    "/a.js failed to load: Cannot find module 'x'",
    ["/a.js failed to load: Cannot find module 'x'", "Require stack:", "- /lib.js"],
  ],
  ["an end without a word", 3, "\n", "/a.js ended with status 3 while it loaded", []],
  ["a program that is not there", "spawn ENOENT", "", "spawn ENOENT", []],
])("%s", (_, status, text, reason, lastLines) => {
  expect(loadFailureOf(POOL as never, status, text, 3000)).toEqual({ reason, lastLines });
});
