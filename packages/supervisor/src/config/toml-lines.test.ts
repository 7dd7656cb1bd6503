/** The lines of keys in TOML documents. */
import { parse } from "smol-toml";
import { expect, test } from "vitest";
import { tomlLines } from "./toml-lines.js";

const DOCUMENT = `# [not.a.table]
name = "shop" # port = 1
"quoted \\"key\\"" = 'a # b'
balancer.processes = 2
text = """
[no] = 1
last \\""""""
listen = [
  "127.0.0.1:80", # first
  ":81",
]

[pools.web]
app = "a.js"
env = { A = "1", B.C = { D = [1, { E = 2 }] } }
  [pools . "we b".env]
  'x.y' = 1979-05-27 07:32:00

[[alerts]]
on = ["death"]
[alerts.quiet]
from = 1
[[alerts]]
on = []
[[alerts.more]]
a = 1
[[alerts.more]]
b = '''
x
'''
c = 3`;

/** Every path of a value, including those of its tables and lists. */
function pathsOf(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== "object" || value === null || value instanceof Date) return [path];
  const entries = Object.entries(value).map(([key, each]) =>
    pathsOf(each, [...path, Array.isArray(value) ? Number(key) : key]),
  );
  return [path, ...entries.flat()];
}

test("every key of a document has its line, and a missing one that of its table", () => {
  const lineOf = tomlLines(DOCUMENT);
  const lines = pathsOf(parse(DOCUMENT)).map((path) => [path.join("/"), lineOf(path)]);
  expect(Object.fromEntries(lines)).toEqual({
    "": undefined,
    name: 2,
    'quoted "key"': 3,
    balancer: 4,
    "balancer/processes": 4,
    text: 5,
    listen: 8,
    "listen/0": 9,
    "listen/1": 10,
    pools: 13,
    "pools/web": 13,
    "pools/web/app": 14,
    "pools/web/env": 15,
    "pools/web/env/A": 15,
    "pools/web/env/B": 15,
    "pools/web/env/B/C": 15,
    "pools/web/env/B/C/D": 15,
    "pools/web/env/B/C/D/0": 15,
    "pools/web/env/B/C/D/1": 15,
    "pools/web/env/B/C/D/1/E": 15,
    "pools/we b": 16,
    "pools/we b/env": 16,
    "pools/we b/env/x.y": 17,
    alerts: 19,
    "alerts/0": 19,
    "alerts/0/on": 20,
    "alerts/0/on/0": 20,
    "alerts/0/quiet": 21,
    "alerts/0/quiet/from": 22,
    "alerts/1": 23,
    "alerts/1/on": 24,
    "alerts/1/more": 25,
    "alerts/1/more/0": 25,
    "alerts/1/more/0/a": 26,
    "alerts/1/more/1": 27,
    "alerts/1/more/1/b": 28,
    "alerts/1/more/1/c": 31,
  });
  expect(lineOf(["pools", "web", "instances"])).toBe(13);
  expect(lineOf(["log", "maxFiles"])).toBeUndefined();
});
