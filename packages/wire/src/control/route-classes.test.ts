import { expect, test } from "vitest";
import { routeClassNames, routeClassOf } from "./route-classes.js";

test.each([
  [["/"], ["reads /", "writes /"]],
  [
    ["/", "/a/", "/b/", "/c/"],
    ["reads /", "writes /", "reads /a/", "writes /a/", "reads /b/", "writes /b/", "reads /c/", "writes /c/"],
  ],
  [
    ["/", "/a/", "/b/", "/c/", "/d/", "/e/"],
    [
      "reads /",
      "writes /",
      "reads /a/",
      "writes /a/",
      "reads /b/",
      "writes /b/",
      "reads other routes",
      "writes other routes",
    ],
  ],
])("the classes of the routes %j", (routes, names) => {
  expect(routeClassNames(routes)).toEqual(names);
  for (const [ordinal, route] of routes.entries()) {
    for (const isRead of [true, false]) {
      const name = names[routeClassOf(ordinal, isRead)];
      expect(name?.startsWith(isRead ? "reads" : "writes")).toBe(true);
      if (routes.length <= 4) expect(name?.endsWith(` ${route}`)).toBe(true);
    }
  }
});
