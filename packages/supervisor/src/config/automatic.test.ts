import { describe, expect, it, test } from "vitest";
import { resolveAutomatic } from "./automatic.js";

function resolve(given: Parameters<typeof resolveAutomatic>[0], names: string[] = []) {
  const problems: string[] = [];
  const config = resolveAutomatic(given, names, {
    ...{ baseDir: "/srv", credentialsDir: undefined, isOnlyChecked: false },
    pathOf: (path) => `/srv/${path}`,
    report: (path, message) => problems.push(`${path.join(".")} ${message}`),
  });
  return { config, problems };
}

it("is enabled for names without a certificate, with Let's Encrypt", () => {
  expect(resolve(undefined).config).toBe(undefined);
  const { config, problems } = resolve(undefined, ["shop.example"]);
  expect(problems).toEqual([]);
  expect(config).toEqual({
    ...{ names: ["shop.example"], email: null, caFile: null, externalAccount: null, ask: null },
    directory: "https://acme-v02.api.letsencrypt.org/directory",
    stagingDirectory: "https://acme-staging-v02.api.letsencrypt.org/directory",
    challenges: ["tls-alpn-01", "http-01"],
  });
});

it("has no staging directory for other CAs", () => {
  expect(resolve({ directory: "https://ca.example/dir" }).config?.stagingDirectory).toBe(null);
  const given = { directory: "https://ca.example/dir", staging: "https://trial.example/dir" };
  expect(resolve(given).config?.stagingDirectory).toBe("https://trial.example/dir");
});

test("further names are in lower case, each once", () => {
  expect(resolve({ names: ["Shop.Example", "www.shop.example"] }, ["shop.example"]).config?.names).toEqual([
    ...["shop.example", "www.shop.example"],
  ]);
});

describe("problems", () => {
  test.each([
    [
      { names: ["*.shop.example"] },
      "names.0 is a wildcard, which needs a challenge by DNS: list its names, or name its files in `tls.certificates`",
    ],
    [{ names: ["localhost"] }, "names.0 must be a DNS name such as shop.example"],
    [{ names: ["10.0.0.1"] }, "names.0 must be a DNS name such as shop.example"],
    [{ email: "me" }, "email must be an e-mail address"],
    [{ email: "a@b.example?cc=x" }, "email must be an e-mail address"],
    [{ directory: "http://ca.example/dir" }, "directory must be an https URL"],
    [{ staging: "nowhere" }, "staging must be an https URL"],
    [{ challenges: [] }, "challenges must have at least one"],
    [{ ask: "ftp://a.example" }, "ask must be an http or https URL"],
    [{ externalAccount: { keyId: "x" } }, "externalAccount must have `keyId` and `key`"],
    ...["!!", "a b", "a"].map((key): [object, string] => [
      { externalAccount: { keyId: "x", key } },
      "externalAccount.key must be a key in base64url, as the CA shows it: letters, digits, - and _",
    ]),
    [{ caFile: "none.pem" }, "caFile /srv/none.pem does not exist"],
    [
      { names: Array.from({ length: 501 }, (_, at) => `${at}.example`) },
      "names are 501 with those of `listen`, and at most 500 are possible",
    ],
  ])("%j", (given, problem) => {
    expect(resolve(given).problems).toEqual([problem]);
  });
});
