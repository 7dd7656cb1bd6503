/** Users and groups of this machine, by name or number. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import type { FleetUser } from "../core/model.js";

/** How long a lookup outside the files may take, in milliseconds. */
const LOOKUP_TIMEOUT_MS = 5000;
const NUMBER = /^\d{1,9}$/;
/** Also prevents that a name is read as an option. */
const NAME = /^[A-Za-z_][^:,\s]*$/;

/** Returns the id of a group; undefined if there is no such group. Any number is accepted. */
export function groupId(name: string): number | undefined {
  if (NUMBER.test(name)) return Number(name);
  return numberAt(lookUp("group", name), 2);
}

/**
 * Returns the user and the group of a fleet, or the problem.
 * @param group default: the user's own
 */
export function findUser(
  name: string,
  group: string | undefined,
): FleetUser | { key: "user" | "group"; problem: string } {
  const account = lookUp("passwd", name);
  const uid = numberAt(account, 2) ?? (NUMBER.test(name) ? Number(name) : undefined);
  if (uid === undefined)
    return {
      key: "user",
      problem: `there is no user "${name}" on this machine; create it, for example: useradd -r ${name}`,
    };
  const gid = group === undefined ? numberAt(account, 3) : groupId(group);
  if (gid === undefined) {
    return group === undefined
      ? { key: "user", problem: `uid ${name} has no entry in /etc/passwd: set \`group\`, too` }
      : {
          key: "group",
          problem: `there is no group "${group}" on this machine; create it, for example: groupadd -r ${group}`,
        };
  }
  const home = account?.[5];
  return { name: account?.[0] ?? name, uid, gid, group: group ?? null, home: home?.startsWith("/") ? home : null };
}

/** Returns the fields of an entry by its name or number. Also searches outside the files, for example in LDAP. */
function lookUp(database: "passwd" | "group", key: string): string[] | undefined {
  if (!NUMBER.test(key) && !NAME.test(key)) return undefined;
  return (
    entryOf(
      attempt(() => readFileSync(`/etc/${database}`, "utf8")),
      key,
    ) ??
    entryOf(
      attempt(() => askDirectory(database, key)),
      key,
    )
  );
}

function askDirectory(database: string, key: string): string {
  return execFileSync("getent", [database, key], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    timeout: LOOKUP_TIMEOUT_MS,
  });
}

function entryOf(text = "", key: string): string[] | undefined {
  const at = NUMBER.test(key) ? 2 : 0;
  return text
    .split("\n")
    .map((line) => line.split(":"))
    .find((fields) => fields[at] === key);
}

function numberAt(fields: string[] | undefined, at: number): number | undefined {
  const text = fields?.[at] ?? "";
  return NUMBER.test(text) || /^\d{10}$/.test(text) ? Number(text) : undefined;
}

/** A missing file or program counts as an unknown entry. */
function attempt(read: () => string): string | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
