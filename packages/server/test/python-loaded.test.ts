/** A loaded Python app's memory: frozen for the garbage collector, and moved into huge pages if that pays. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { findPython, PYTHON_ENTRY } from "./python.js";

const MB = 1024;
const SMAPS = [
  { at: 0x10000000, mode: "rw-p", inode: 0, sizeMB: 8, anonymous: 8 * MB, name: "[heap]", isLoaded: true },
  { at: 0x20000000, mode: "rw-p", inode: 0, sizeMB: 4, anonymous: 3.5 * MB, name: "", isLoaded: true },
  // The stack of a thread.
  { at: 0x30000000, mode: "rw-p", inode: 0, sizeMB: 8, anonymous: 60, name: "", isLoaded: false },
  { at: 0x40000000, mode: "r--p", inode: 0, sizeMB: 8, anonymous: 8 * MB, name: "", isLoaded: false },
  { at: 0x50000000, mode: "rw-s", inode: 0, sizeMB: 8, anonymous: 8 * MB, name: "", isLoaded: false },
  { at: 0x60000000, mode: "rw-p", inode: 77, sizeMB: 8, anonymous: 8 * MB, name: "/usr/lib/a b.so", isLoaded: false },
  { at: 0x70000000, mode: "rw-p", inode: 0, sizeMB: 8, anonymous: 8 * MB, name: "[stack]", isLoaded: false },
  // This mapping contains no complete huge page.
  { at: 0x80100000, mode: "rw-p", inode: 0, sizeMB: 2, anonymous: 2 * MB, name: "", isLoaded: false },
];

const PROGRAM = `
import gc, io, json, os, sys
sys.path.insert(0, sys.argv[1])
from paceline import loaded

smaps, expected = json.loads(sys.argv[2])
assert loaded.loaded_ranges(io.StringIO(smaps)) == [tuple(each) for each in expected], loaded.loaded_ranges(io.StringIO(smaps))

asked = []
loaded._collapse, collapse = asked.append, loaded._collapse
policy = sys.argv[3]

def settles(text):
    del asked[:]
    if text is not None:
        with open(policy, "w") as file:
            file.write(text)
    loaded.settle()
    return bool(asked)

assert gc.get_freeze_count() == 0
loaded.POLICY = policy
assert not settles("[always] madvise never"), "an app that has loaded little"
big = b"paceline" * (4 << 20)
loaded.POLICY = policy + ".missing"
assert not settles(None), "without a policy there are no huge pages"
assert gc.get_freeze_count() > 0
loaded.POLICY = policy
assert not settles("always madvise [never]"), "the policy forbids them"
loaded.is_shared = True
assert not settles("always [madvise] never"), "the memory is shared with other instances"
loaded.is_shared = False
if sys.platform == "linux":
    assert settles("always [madvise] never"), "an app that has loaded much"
    assert any(start <= id(big) < end for start, end in asked[0]), asked
    # Whatever the kernel says to it.
    collapse(asked[0])
    assert big == b"paceline" * (4 << 20)
    del big
    assert settles("[always] madvise never"), "a small app that has ctypes"
print("as expected")
`;

test("a loaded app is frozen, and moved into huge pages if it is large and does not share its memory", async (context) => {
  const python = findPython();
  if (python === undefined) return context.skip("no Python of at least 3.9");
  const hex = (number: number) => number.toString(16);
  const smaps = SMAPS.map(({ at, mode, inode, sizeMB, anonymous, name }) => {
    const header = `${hex(at)}-${hex(at + sizeMB * MB * MB)} ${mode} 00000000 00:00 ${inode} ${name}`.trimEnd();
    return `${header}\nSize: ${sizeMB * MB} kB\nAnonymous: ${anonymous} kB\nVmFlags: rd wr mr mw me ac \n`;
  });
  const expected = SMAPS.filter(({ isLoaded }) => isLoaded).map(({ at, sizeMB }) => [at, at + sizeMB * MB * MB]);
  const argument = JSON.stringify([smaps.join(""), expected]);
  const directory = mkdtempSync(join(tmpdir(), "paceline-loaded-"));
  context.onTestFinished(() => rmSync(directory, { recursive: true }));
  const args = ["-I", "-S", "-c", PROGRAM, dirname(PYTHON_ENTRY), argument, join(directory, "policy")];
  const { stdout, stderr } = spawnSync(python, args, { encoding: "utf8", timeout: 60_000 });
  expect({ stdout, stderr }).toEqual({ stdout: "as expected\n", stderr: "" });
});
