/** The users of the system, as /etc/passwd has them. */
import { readFileSync } from "node:fs";

/** `shop`, or `uid 1001` for one that has no name here. */
export function userName(uid: number): string {
  return entries().find((user) => user.uid === uid)?.name ?? `uid ${uid}`;
}

/** The home directory of a user, if it is known. */
export function homeOf(uid: number): string | undefined {
  const home = entries().find((user) => user.uid === uid)?.home;
  return home?.startsWith("/") ? home : undefined;
}

function entries(): { name: string; uid: number; home: string }[] {
  let text: string;
  try {
    text = readFileSync("/etc/passwd", "utf8");
  } catch {
    return []; // Such as in a container that has none.
  }
  return text.split("\n").flatMap((line) => {
    const [name, , uid, , , home] = line.split(":");
    return name === undefined || home === undefined || !/^\d+$/.test(uid ?? "")
      ? []
      : [{ name, uid: Number(uid), home }];
  });
}
