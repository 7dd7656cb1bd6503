/** The view of deaths: a list, in which those with the same last line are grouped, and the last lines of the selected one. Pure. */
import type { DeathDetails } from "../control/api.js";
import { clock, shortDuration } from "./format.js";
import type { Model } from "./model.js";
import { sectionTitle, widest } from "./pane.js";
import { clean, fit, fitLine, fitName, type Line, segment, truncate, widthOf, wrap } from "./text.js";
import { fleetName, itemLine, lossOf } from "./title.js";

const MOST_GROUPS = 6;
/** The maximum number of lines for the reason of a death. */
const MOST_REASON = 3;
/** With fewer cells, the columns LOST and ELSEWHERE are left out, so that the last line has room. */
const LOST_WIDTH = 70;
const ELSEWHERE_WIDTH = 100;
/** The width for the text after the last line of several deaths: the request and names. */
const LEAST_BESIDE = 36;

/** Returns `height` lines, without the last line of the screen. */
export function deathsOfFleet(model: Model, width: number, height: number): Line[] {
  const { status, deaths, at } = model;
  const { list, selected, loaded } = deaths;
  const sum = (key: "lost" | "reassigned") => list.reduce((all, each) => all + each[key], 0);
  const what = `${list.length} kept; requests: ${sum("lost")} lost, ${sum("reassigned")} sent to another instance`;
  const lines: Line[] = [
    itemLine(
      [
        {
          line: [segment(`${fleetName(status)} › `, "dim"), segment("deaths", "bold")],
          ...{ drop: 0, side: "left" },
        },
        { line: [segment(list.length === 0 ? "" : what)], drop: 2, side: "left" },
        { line: [segment(clock(at), "dim")], drop: 1, side: "right" },
      ],
      width,
    ),
    [],
  ];
  if (list.length === 0) {
    const loss = lossOf(model);
    if (loss !== null)
      return [...lines, fitLine([segment(` ${loss}; paceline deaths reads the reports`, "dim")], width)];
    const text = loaded ? " no process of this fleet has died" : " …";
    return [...lines, fitLine([segment(text, loaded ? "good" : "dim")], width)];
  }
  const chosen = list[Math.min(selected, list.length - 1)];
  const names = list.map(({ name }) => name);
  const nameWidth = Math.max(8, widest(names, width));
  lines.push(fitLine([segment(headText(nameWidth, width), "dim")], width));
  const groups = groupsOf(list);
  const words = wordsOf(chosen, width);
  const output = (chosen?.lastLines ?? []).map((line): Line => [segment(`  ${clean(line)}`)]);
  const room = height - lines.length;
  const ofGroups = room >= 14 ? Math.min(MOST_GROUPS, groups.length) + 2 : 0;
  const ofWords = Math.min(words.length + output.length + 2, Math.max(0, Math.floor((room - ofGroups) / 2)));
  const rows = Math.max(1, room - ofGroups - ofWords);
  const first = Math.min(Math.max(0, selected - Math.floor(rows / 2)), Math.max(0, list.length - rows));
  for (let row = first; row < Math.min(list.length, first + rows); row++)
    lines.push(deathLine(list[row] as DeathDetails, row === selected, at, nameWidth, width));
  if (ofGroups > 0) {
    lines.push([], sectionTitle("the same last line", "", width));
    for (const { count, word, names } of groups.slice(0, MOST_GROUPS))
      lines.push(
        fitLine(
          [
            segment(` ${fit(`${count}×`, 4, "right")}  `, count > 1 ? "bad" : "plain"),
            segment(
              `${truncate(word, Math.max(LEAST_BESIDE, width - 10 - Math.min(widthOf(names), LEAST_BESIDE - 10)))}   `,
            ),
            segment(names, "dim"),
          ],
          width,
        ),
      );
  }
  // The last lines get the remaining space.
  const left = height - lines.length;
  if (chosen !== undefined && left >= 3) {
    const title = `last lines of ${chosen.name}, ${clock(chosen.at)}`;
    lines.push(
      [],
      sectionTitle(title, `paceline deaths show ${chosen.id}`, width),
      ...[...words.slice(0, left - 2), ...output.slice(-Math.max(1, left - 2 - words.length))].map((line) =>
        fitLine(line, width),
      ),
    );
  }
  return lines.slice(0, height);
}

function headText(nameWidth: number, width: number): string {
  const lost = `${width < LOST_WIDTH ? "" : "  LOST"}${width < ELSEWHERE_WIDTH ? "" : "  ELSEWHERE"}`;
  return ` WHEN     ${fit("NAME", nameWidth)}  HOW                 LIVED${lost}  LAST LINE`;
}

function deathLine(death: DeathDetails, isSelected: boolean, at: number, nameWidth: number, width: number): Line {
  const { name, how, uptimeMs, lost, reassigned, lastLine } = death;
  const when = `${shortDuration(Math.max(0, at - death.at) / 1000)} ago`;
  return fitLine(
    [
      segment(isSelected ? "▸" : " ", "accent"),
      segment(fit(when, 9)),
      segment(fitName(name, nameWidth), isSelected ? "selected" : "plain"),
      segment(`  ${fit(clean(how), 18)}`, "bad"),
      segment(fit(shortDuration(uptimeMs / 1000), 7, "right")),
      ...(width < LOST_WIDTH ? [] : [segment(fit(`${lost}`, 6, "right"), lost > 0 ? "bad" : "dim")]),
      ...(width < ELSEWHERE_WIDTH
        ? []
        : [segment(fit(`${reassigned}`, 11, "right"), reassigned > 0 ? "plain" : "dim")]),
      segment(`  ${requestOf(death)}`, "accent"),
      segment(clean(lastLine)),
    ],
    width,
  );
}

/** Returns the request that crashed the process, or that the process lost, as `POST /kill · `; empty if unknown. */
function requestOf({ running, requests }: DeathDetails): string {
  const request = running ?? requests[0];
  return request === undefined ? "" : `${clean(request)} · `;
}

interface Group {
  count: number;
  word: string;
  names: string;
}

/**
 * Groups deaths by their last line, largest group first. Deaths without output are grouped by how the process died, because their reasons
 * contain the uptime.
 */
function groupsOf(list: readonly DeathDetails[]): Group[] {
  const groups = new Map<string, { count: number; names: Set<string>; running: Set<string> }>();
  for (const { lastLine, how, name, running, requests } of list) {
    const word = clean(lastLine === "" ? how : lastLine);
    const group = groups.get(word) ?? { count: 0, names: new Set(), running: new Set() };
    group.count++;
    group.names.add(name);
    const request = running ?? requests[0];
    if (request !== undefined) group.running.add(request);
    groups.set(word, group);
  }
  return [...groups]
    .map(([word, { count, names, running }]) => {
      const during = running.size === 0 ? "" : `with ${[...running].slice(0, 2).map(clean).join(", ")}  `;
      return { count, word, names: during + [...names].slice(0, 8).join(" ") };
    })
    .sort((a, b) => b.count - a.count);
}

function wordsOf(death: DeathDetails | undefined, width: number): Line[] {
  if (death === undefined) return [];
  const { reason, running, requests } = death;
  return [
    ...wrap(clean(reason), Math.max(1, width - 2), MOST_REASON).map((piece) => [segment(`  ${piece}`, "bad")]),
    ...(running === null ? [] : [[segment("  it was running ", "dim"), segment(clean(running), "bold")]]),
    ...(requests.length === 0
      ? []
      : [[segment("  lost: ", "dim"), segment(clean([...new Set(requests)].slice(0, 6).join(", ")))]]),
  ];
}
