/** Whether a value read from `state.json` has the shape of a state, so that code that builds on it cannot fail on a damaged file. */

import { MAX_WEIGHT } from "../core/fleet.js";

type Fields = Record<string, unknown>;

export function isTable(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const areNumbers = (value: Fields, keys: string[]) => keys.every((key) => Number.isFinite(value[key]));
const areTexts = (value: Fields, keys: string[]) => keys.every((key) => typeof value[key] === "string");
const areTables = (value: Fields, keys: string[]) => keys.every((key) => isTable(value[key]));
const isEach = (value: unknown, isItem: (item: unknown) => boolean) => Array.isArray(value) && value.every(isItem);
const isList = (value: unknown, isItem: (item: Fields) => boolean) =>
  isEach(value, (item) => isTable(item) && isItem(item));
const isNumber = (value: unknown) => Number.isFinite(value);
const isText = (value: unknown) => typeof value === "string";
const isNullOr = (isKind: (value: unknown) => boolean) => (value: unknown) => value === null || isKind(value);

/** Only we write and read the file, so the checks cover only what damage or a manual edit could break. */
export function isState(value: Fields): boolean {
  const { boot = "", environments, floors = [], stoppedFrom = [], former = [], formerSizes = [], routes = [] } = value;
  return (
    areNumbers(value, ["startedAt", "snapshotVersion"]) &&
    isText(boot) &&
    typeof value.folder === "string" &&
    /^run-\d+$/.test(value.folder) &&
    Array.isArray(environments) &&
    environments.length > 0 &&
    isList(environments, (each) => Object.values(each).every(isText)) &&
    isConfig(value.config) &&
    isEach(value.routed, isText) &&
    isEach(value.templates, isSize) &&
    isEach(value.ports, isNullOr(isNumber)) &&
    isEach(floors, isSize) &&
    isEach(stoppedFrom, isSize) &&
    isEach(former, isSize) &&
    isEach(formerSizes, isSizes) &&
    isList(routes, isRoute) &&
    [value.deployed, value.formerlyDeployed].every((each) => each === undefined || isDeployed(each)) &&
    isList(
      value.generations,
      ({ pool, number, config, environment, since = 0 }) =>
        isText(pool) &&
        isNumber(since) &&
        Number.isInteger(number) &&
        isTable(config) &&
        isPoolConfig(config) &&
        environments[environment as number] !== undefined,
    ) &&
    isTable(value.fleet) &&
    isList(value.fleet.pools, isPool) &&
    isList(value.processes, isProcess) &&
    isList(value.slots, (slot) => areTexts(slot, ["name"]) && areNumbers(slot, ["restarts", "recycles"])) &&
    isList(value.totals, (each) => areTexts(each, ["pool"]) && areCounts(each))
  );
}

function isConfig(config: unknown): boolean {
  return (
    isTable(config) &&
    areTexts(config, ["name"]) &&
    areTables(config, ["balancer"]) &&
    isList(config.listen, () => true) &&
    isList(config.pools, isPoolConfig)
  );
}

function isPoolConfig(pool: Fields): boolean {
  return areTexts(pool, ["name"]) && isTable(pool.secrets) && Object.values(pool.secrets).every(isTable);
}

function isPool(pool: Fields): boolean {
  return (
    areTexts(pool, ["name"]) &&
    areNumbers(pool, ["wanted", "generation"]) &&
    isEach(pool.served, isNumber) &&
    isEach(pool.nextAttempts, (pair) => isEach(pair, isNumber)) &&
    isList(pool.slots, isSlot)
  );
}

function isSlot({ name, index, member, other, warm, turn }: Fields): boolean {
  const isGood = isText(name) && Number.isInteger(index) && isOccupant(member) && isNullOr(isOccupant)(other);
  return isGood && (warm === undefined || isOccupant(warm)) && (turn === undefined || isTurn(turn));
}

function isTurn(value: unknown): boolean {
  if (!isTable(value)) return false;
  const { drained = true, ejected = 1, weight = 1, readmits = 1 } = value;
  const isWeight = Number.isInteger(weight) && (weight as number) >= 1 && (weight as number) <= MAX_WEIGHT;
  return drained === true && Number.isInteger(ejected) && Number.isInteger(readmits) && isWeight;
}

function isRoute({ pool, route, access, counts, last }: Fields): boolean {
  return [pool, route, access].every(isText) && isEach(counts, isNumber) && isEach(last, isCountsOfBalancer);
}

/** Whether it is a value such as `["balancer.1#1", [0, 4]]`. */
function isCountsOfBalancer(value: unknown): boolean {
  return Array.isArray(value) && isText(value[0]) && isEach(value[1], isNumber);
}

function isDeployed(value: unknown): boolean {
  return (
    isTable(value) &&
    isTable(value.source) &&
    areTexts(value.source, ["kind"]) &&
    areTexts(value, ["ownFolder"]) &&
    isNullOr(isText)(value.dir) &&
    isNullOr(isText)(value.envFile)
  );
}

function isOccupant(value: unknown): boolean {
  if (!isTable(value) || !isTable(value.process)) return false;
  const { process } = value;
  return (
    areNumbers(value, ["generation"]) &&
    areTexts(process, ["state", "goal"]) &&
    areNumbers(process, ["attempt", "nextAttempt", "failures"]) &&
    isEach(process.failuresAt, isNumber)
  );
}

function isProcess(each: Fields): boolean {
  const { statuses = [], statusesOf = [] } = each;
  return (
    isEach(statuses, isNumber) &&
    isEach(statusesOf, isCountsOfBalancer) &&
    areTexts(each, ["id", "pool", "name", "token", "startTime", "runtime", "protocol"]) &&
    areNumbers(each, ["pid", "index", "attempt", "generation", "spawnedAt", "outputRow", "maxOutputBytes"]) &&
    areCounts(each) &&
    // A signal to 0 or a negative pid would go to a group, or to all processes (kill(2)).
    Number.isInteger(each.pid) &&
    (each.pid as number) > 1 &&
    isList(each.relayed, (counts) => areTexts(counts, ["balancer"]) && areCounts(counts))
  );
}

function areCounts(value: Fields): boolean {
  return areNumbers(value, ["requestsTotal", "errorsTotal"]);
}

/** Whether it is a value such as `["web", 4]`. */
function isSizes(value: unknown): boolean {
  return Array.isArray(value) && value.length === 3 && isText(value[0]) && value.slice(1).every(Number.isInteger);
}

function isSize(value: unknown): boolean {
  return Array.isArray(value) && isText(value[0]) && Number.isInteger(value[1]);
}
