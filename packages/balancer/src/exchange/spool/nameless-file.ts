/** Files without a name: whatever happens to this process, nothing of them is left. */

/** By its name, and when it is needed: an import of node:fs costs every process on Bun. */
export const fs = () => process.getBuiltinModule("node:fs");

/** Linux, on x86-64 and arm64 alike; a flag of open(2) that neither runtime names. It includes O_DIRECTORY, which differs. */
const TMPFILE = 0o20000000;
const MODE = 0o600;

/** What files are called where there must be a name for a moment. */
const NAME = /^spool-\d+-\d+$/;

let made = 0;

/** Where O_TMPFILE does not work: some file systems, kernels before 3.11, and what is not Linux. */
const WITHOUT_TMPFILE: ReadonlySet<string | undefined> = new Set(["EOPNOTSUPP", "ENOTSUP", "EISDIR", "EINVAL"]);

/** Opens a new file without a name in that folder, to be read and written by its owner alone. */
export function openNameless(
  folder: string,
  opened: (error: NodeJS.ErrnoException | null, fd: number) => void,
  isTmpfileKnown = process.platform === "linux",
): void {
  const { open, constants } = fs();
  if (!isTmpfileKnown) return openUnlinked(folder, opened);
  open(folder, TMPFILE | constants.O_DIRECTORY | constants.O_RDWR, MODE, (error, fd) => {
    if (error !== null && WITHOUT_TMPFILE.has(error.code)) openUnlinked(folder, opened);
    else opened(error, fd);
  });
}

/** Makes a file that nobody else has, and takes its name away at once. */
function openUnlinked(folder: string, opened: (error: NodeJS.ErrnoException | null, fd: number) => void): void {
  const { open, unlink } = fs();
  const path = `${folder}/spool-${process.pid}-${++made}`;
  open(path, "wx+", MODE, (error, fd) => {
    if (error !== null) return opened(error, fd);
    // The next balancer that starts may have removed it already.
    unlink(path, () => opened(null, fd));
  });
}

/** Makes the folder, for its owner alone, and removes what a process left that was killed before it could take a name away. */
export function prepareFolder(folder: string): void {
  const { mkdirSync, readdirSync, unlinkSync, openSync, closeSync, writeSync } = fs();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(folder)) {
    if (!NAME.test(name)) continue;
    try {
      unlinkSync(`${folder}/${name}`);
    } catch {
      // Another balancer was faster, or it is not ours; what cannot be written is found out below.
    }
  }
  const path = `${folder}/spool-${process.pid}-${++made}`;
  const fd = openSync(path, "wx+", MODE);
  unlinkSync(path);
  try {
    writeSync(fd, "x");
  } finally {
    closeSync(fd);
  }
}
