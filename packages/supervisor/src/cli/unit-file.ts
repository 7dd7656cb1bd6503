/** The file of a unit in systemd's folder. It is written, enabled and removed here, but only if Paceline wrote it. */
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { shellWord } from "../core/words.js";
import { PacelineError } from "../errors.js";
import { replaceDurably } from "../run-dir/run-dir-files.js";

const HEAD = "# Written by paceline startup, which replaces it; changes belong into: systemctl edit";
const SYSTEMCTL_TIMEOUT_MS = 60_000;

/** Where units are, and the matching arguments of systemctl. */
interface Place {
  folder: string;
  /** The first arguments of systemctl. */
  args: readonly string[];
  /** The system's own systemd, a user's, or the files of a system that does not run. */
  of: "system" | "user" | "image";
}

export function placeFor({ isOwn, root }: { isOwn: boolean; root: string | undefined }): Place {
  if (isOwn && root !== undefined) throw new PacelineError("usage", "--user cannot be combined with --root");
  if (root !== undefined) {
    const path = resolve(root);
    return { folder: join(path, "etc/systemd/system"), args: [`--root=${path}`], of: "image" };
  }
  if (!isOwn) return { folder: "/etc/systemd/system", args: [], of: "system" };
  const { XDG_CONFIG_HOME } = process.env;
  const config = XDG_CONFIG_HOME?.startsWith("/") ? XDG_CONFIG_HOME : join(homedir(), ".config");
  return { folder: join(config, "systemd/user"), args: ["--user"], of: "user" };
}

/** Returns why this process cannot install there, and what to do instead; undefined if it can. */
export function whyNotHere({ of }: Place, what: "install" | "remove"): string | undefined {
  // For a user, systemctl itself reports why there is no systemd.
  if (of !== "system") return undefined;
  if (!existsSync("/run/systemd/system"))
    return "systemd does not run on this machine; let your init system run `paceline start` in the fleet's folder, or add a line to crontab -e: @reboot cd FOLDER && paceline start -d";
  if (process.getuid?.() === 0) return undefined;
  return `only root can change the units of the system; ${sudoLine(what, process.argv.slice(2))}`;
}

/** @param args of this command */
export function sudoLine(what: "install" | "remove", args: readonly string[]): string {
  const command = ["paceline", ...args].map(shellWord).join(" ");
  return `to ${what} it, run: sudo env "PATH=$PATH" ${command}, or without root: ${command} --user`;
}

export class UnitFile {
  readonly path: string;

  constructor(
    private readonly name: string,
    private readonly place: Place,
  ) {
    this.path = join(place.folder, `${name}.service`);
  }

  /**
   * Writes and enables the unit. Returns what was done.
   * @throws PacelineError `startup`
   */
  async install(text: string): Promise<string> {
    const { name, path, place } = this;
    const before = this.read();
    if (before !== undefined && !before.startsWith(HEAD))
      throw new PacelineError(
        "startup",
        `${path} was not written by paceline startup, so nothing was changed: remove it, or give the fleet another name with --name`,
      );
    const wanted = `${HEAD} ${name}\n${text}`;
    if (place.of === "user") await this.systemctl("nothing was changed", ["show", "--property=Version"]);
    if (before !== wanted) this.write(wanted);
    if (place.of !== "image") await this.systemctl(`${path} is there`, ["daemon-reload"]);
    await this.systemctl(`${path} is there`, ["enable", name]);
    const done = before === wanted ? "is installed already" : before === undefined ? "was written" : "was replaced";
    return [
      `${path} ${done} and is enabled: systemd starts the fleet on ${place.of === "user" ? "login" : "boot"}`,
      ...this.next(),
    ].join("\n");
  }

  private next(): string[] {
    const { name, place } = this;
    const by = ["systemctl", ...place.args].join(" ");
    if (place.of === "image") return [];
    const linger = place.of === "user" ? ["to start it on boot: loginctl enable-linger"] : [];
    return [
      ...linger,
      `to start it now: ${by} start ${name} (stop a fleet that runs without systemd first: paceline stop)`,
    ];
  }

  /**
   * Disables and removes the unit. Returns what was done.
   * @throws PacelineError `startup`
   */
  async remove(): Promise<string> {
    const { name, path, place } = this;
    const before = this.read();
    if (before === undefined) return `nothing to remove: there is no ${path}`;
    if (!before.startsWith(HEAD))
      throw new PacelineError(
        "startup",
        `${path} was not written by paceline startup, so it stays: remove it yourself`,
      );
    await this.systemctl(`${path} stays`, ["disable", name]);
    rmSync(path, { force: true });
    if (place.of !== "image") await this.systemctl(`${path} was removed`, ["daemon-reload"]);
    return `${path} was disabled and removed; a fleet that runs continues`;
  }

  private read(): string | undefined {
    try {
      return readFileSync(this.path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw new PacelineError("startup", `${this.path} cannot be read: ${(error as Error).message}`, { cause: error });
    }
  }

  private write(text: string): void {
    try {
      mkdirSync(this.place.folder, { recursive: true });
      replaceDurably(this.path, text);
      chmodSync(this.path, 0o644);
    } catch (error) {
      const { message } = error as Error;
      throw new PacelineError("startup", message.includes(this.path) ? message : `${this.path}: ${message}`, {
        cause: error,
      });
    }
  }

  /** @param state the resulting state if this fails */
  private async systemctl(state: string, call: string[]): Promise<void> {
    const args = [...this.place.args, ...call];
    const problem = await new Promise<string | undefined>((done) =>
      execFile("systemctl", args, { timeout: SYSTEMCTL_TIMEOUT_MS }, (error, _stdout, stderr) => {
        if (error === null) return done(undefined);
        const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
        done(isMissing ? "there is no such program" : stderr.trim().replace(/\s*\n\s*/g, "; ") || error.message);
      }),
    );
    if (problem !== undefined)
      throw new PacelineError("startup", `systemctl ${args.join(" ")} failed (${state}): ${problem}`);
  }
}
