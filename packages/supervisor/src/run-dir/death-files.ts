/** The files of death reports: `deaths/17-web.3.json`, mode 0600, bounded in number and bytes. */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { boundReport, type DeathReport, type KeptReport, reportsToRemove } from "../core/deaths.js";
import { replaceFile } from "./run-dir-files.js";
import { distrust, makePrivate } from "./trust.js";

const NAME = /^(\d{1,15})-([\w.-]{1,120})\.json$/;
/** A bounded report is smaller, however its characters are escaped. */
const MAX_BYTES = 256 << 10;
/** More entries than a folder of reports has. */
const MAX_ENTRIES = 4096;

/** The writer of one supervisor. */
export class DeathFiles {
  private readonly kept: KeptReport[];
  private nextId: number;

  constructor(private readonly folder: string) {
    this.kept = listReports(folder);
    this.nextId = Math.max(0, ...this.kept.map(({ id }) => id)) + 1;
  }

  /** Writes a new report and removes old ones. Returns it with its number. @throws PacelineError such as `ENOSPC` */
  add(report: Omit<DeathReport, "id">): DeathReport {
    // During an upgrade another supervisor may write, too.
    for (const name of namesIn(this.folder)) this.nextId = Math.max(this.nextId, Number(NAME.exec(name)?.[1] ?? 0) + 1);
    const numbered: DeathReport = boundReport({ ...report, id: this.nextId });
    makePrivate(this.folder);
    const bytes = this.write(numbered);
    this.nextId++;
    this.kept.push({ id: numbered.id, name: numbered.name, bytes });
    for (const old of reportsToRemove(this.kept)) {
      this.kept.splice(this.kept.indexOf(old), 1);
      rmSync(this.pathOf(old), { force: true });
    }
    return numbered;
  }

  /** Writes it again, unless it was removed meanwhile. @throws PacelineError such as `ENOSPC`; the earlier one stays */
  update(report: DeathReport): void {
    const known = this.kept.find(({ id }) => id === report.id);
    if (known !== undefined) known.bytes = this.write(boundReport(report));
  }

  private write(report: DeathReport): number {
    const text = `${JSON.stringify(report)}\n`;
    replaceFile(this.pathOf(report), text);
    return Buffer.byteLength(text);
  }

  private pathOf({ id, name }: Pick<KeptReport, "id" | "name">): string {
    return join(this.folder, `${id}-${name}.json`);
  }
}

/** Lists the reports in a folder, the oldest first; empty if it is missing or not only this user's. */
function listReports(folder: string): KeptReport[] {
  return namesIn(folder).flatMap((file) => {
    const [, id, name] = NAME.exec(file) ?? [];
    const bytes = statSync(join(folder, file), { throwIfNoEntry: false })?.size;
    return id === undefined || name === undefined || bytes === undefined ? [] : [{ id: Number(id), name, bytes }];
  });
}

function namesIn(folder: string): string[] {
  try {
    const names = readdirSync(folder).slice(0, MAX_ENTRIES);
    return names.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  } catch {
    return []; // No process has died yet.
  }
}

/** Reads all reports in a folder, the newest first. Skips those that this version cannot read. */
export function readReports(folder: string, uid = process.getuid?.()): DeathReport[] {
  if (distrust(folder, { uid }) !== undefined) return [];
  return namesIn(folder)
    .filter((file) => NAME.test(file))
    .flatMap((file) => readReport(join(folder, file)) ?? [])
    .reverse();
}

function readReport(path: string): DeathReport | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined; // Removed meanwhile, or not ours.
  }
  try {
    const { size } = fstatSync(fd);
    if (size > MAX_BYTES) return undefined;
    const buffer = Buffer.alloc(size);
    const report = JSON.parse(buffer.toString("utf8", 0, readSync(fd, buffer, 0, size, 0))) as DeathReport;
    return isReport(report) ? report : undefined;
  } catch {
    return undefined; // Written by another program.
  } finally {
    closeSync(fd);
  }
}

function isReport(value: Partial<DeathReport> | null): value is DeathReport {
  if (value?.version !== 1) return false;
  const numbers = [value.id, value.at, value.attempt, value.generation, value.uptimeMs, value.requestsOmitted];
  const texts = [value.process, value.name, value.kind, value.reason, value.state, value.runtime];
  const lists = [value.requests, value.stack, value.lastLines];
  return (
    numbers.every((number) => Number.isFinite(number)) &&
    texts.every((text) => typeof text === "string") &&
    lists.every(Array.isArray)
  );
}
