import { expect, test } from "vitest";
import { placeFor, sudoLine } from "./unit-file.js";

test("without root the command is printed as it was typed, to be run with sudo or for the user", () => {
  expect(sudoLine("install", ["startup", "a b/p.toml", "-i", "4"])).toBe(
    `to install it, run: sudo env "PATH=$PATH" paceline startup 'a b/p.toml' -i 4, or without root: paceline startup 'a b/p.toml' -i 4 --user`,
  );
});

test.each([
  [{ isOwn: false, root: undefined }, "/etc/systemd/system", []],
  [{ isOwn: false, root: "/image/" }, "/image/etc/systemd/system", ["--root=/image"]],
])("the place for %j", (options, folder, args) => {
  expect(placeFor(options)).toMatchObject({ folder, args });
});
