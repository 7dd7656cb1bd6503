/** Clients choose these names, so each name is requested once, and few clients may wait. */
import { expect, it } from "vitest";
import { WantedNames } from "./handshake.js";

function world() {
  const asked: string[] = [];
  const resumed: string[] = [];
  const names = new WantedNames((name) => asked.push(name));
  const wait = (name: string, who: string) => {
    const resume = () => void resumed.push(who);
    return { isWaiting: names.wait(name, resume), resume };
  };
  return { names, asked, resumed, wait };
}

it("requests a name once, and resumes all clients that wait for it", () => {
  const { names, asked, resumed, wait } = world();
  for (const who of ["1", "2"]) wait("a.example", who);
  wait("b.example", "3");
  expect(asked).toEqual(["a.example", "b.example"]);
  names.certified((name) => name === "a.example");
  expect(resumed).toEqual(["1", "2"]);
  names.settle("b.example");
  expect(resumed).toEqual(["1", "2", "3"]);
  names.settle("b.example");
  wait("a.example", "4");
  expect(asked).toEqual(["a.example", "b.example", "a.example"]);
});

it("forgets a name when nobody waits for it any more", () => {
  const { names, asked, resumed, wait } = world();
  const { resume } = wait("a.example", "1");
  names.withdraw("a.example", resume);
  names.withdraw("a.example", resume);
  names.settle("a.example");
  expect(resumed).toEqual([]);
  wait("a.example", "2");
  expect(asked).toHaveLength(2);
});

it("lets few clients wait, for few names", () => {
  const { names, asked, wait } = world();
  const many = Array.from({ length: 600 }, (_, at) => wait("a.example", `${at}`).isWaiting);
  expect(many.filter((each) => each)).toHaveLength(512);
  names.settle("a.example");
  const others = Array.from({ length: 100 }, (_, at) => wait(`${at}.example`, "").isWaiting);
  expect(others.filter((each) => each)).toHaveLength(64);
  expect(asked).toHaveLength(65);
});
