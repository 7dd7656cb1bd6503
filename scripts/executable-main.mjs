/** The executable's own program: unpacks the package that it contains, once per version, and runs its command line. */
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import process from "node:process";
import { gunzipSync } from "node:zlib";
import payload from "./payload.gz" with { type: "file" };

/* global NAME: `paceline-VERSION-HASH`, set by the build. */

function fail(text) {
  process.stderr.write(`paceline: ${text}\n`);
  process.exit(1);
}

/** Returns the folder of unpacked programs. It is not the folder of run directories, which a reboot may clear. */
function folderOfPrograms({ PACELINE_PROGRAMS_DIR, XDG_DATA_HOME, HOME }) {
  if (PACELINE_PROGRAMS_DIR !== undefined && isAbsolute(PACELINE_PROGRAMS_DIR)) return PACELINE_PROGRAMS_DIR;
  if (process.getuid() === 0) return "/var/lib/paceline";
  if (XDG_DATA_HOME !== undefined && isAbsolute(XDG_DATA_HOME)) return join(XDG_DATA_HOME, "paceline");
  if (HOME !== undefined) return join(HOME, ".local/share/paceline");
  return fail("HOME is not set: set PACELINE_PROGRAMS_DIR to a folder for Paceline's programs");
}

/** Writes all files into a temporary folder, then renames it: `folder` exists only when it is complete. */
function unpack(folder) {
  mkdirSync(dirname(folder), { recursive: true, mode: 0o755 });
  const beside = mkdtempSync(`${folder}.`);
  for (const [path, text] of Object.entries(JSON.parse(gunzipSync(readFileSync(payload)).toString()))) {
    const file = join(beside, path);
    mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
    writeFileSync(file, Buffer.from(text, "base64"), { mode: 0o644 });
  }
  try {
    renameSync(beside, folder);
  } catch (error) {
    rmSync(beside, { recursive: true, force: true });
    // Another process was faster.
    if (!["ENOTEMPTY", "EEXIST"].includes(error.code)) throw error;
  }
}

/** A user who can write there could run code as this user. */
function checkOwner(folder) {
  const { uid, mode } = lstatSync(folder);
  const isOwn = uid === process.getuid() || uid === 0;
  if (!isOwn || (mode & 0o022) !== 0) fail(`${folder} belongs to or can be changed by another user: remove it`);
}

try {
  process.cwd();
} catch {
  fail("the working directory was deleted (an old release, perhaps); change into one that exists");
}
// As in the launcher (bin/paceline): a relative HOME counts as missing, and an ignored SIGHUP stays ignored.
if (process.env.HOME !== undefined && !isAbsolute(process.env.HOME)) delete process.env.HOME;
try {
  const ignored = /^SigIgn:\s*(\w+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  if ((Number.parseInt(ignored.slice(-1), 16) & 1) !== 0) process.env.PACELINE_NOHUP = "1";
} catch {
  // Only Linux has this file.
}

const folder = join(folderOfPrograms(process.env), NAME);
try {
  if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) unpack(folder);
  checkOwner(folder);
} catch (error) {
  fail(`cannot write its programs to ${folder}: ${error.message}; PACELINE_PROGRAMS_DIR names another folder`);
}
// Its child processes run the same file, which acts as Bun with this variable (packages/supervisor/src/runtime/runtimes.ts).
process.env.BUN_BE_BUN = "1";
const program = join(folder, "node_modules/paceline/dist/programs/cli/main.js");
process.argv[1] = program;
await import(program);
