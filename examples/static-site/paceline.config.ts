/** A folder of files, with what browsers may cache: `npx paceline start examples/static-site`. */
export default {
  name: "static-site",
  static: "./public",
  staticOptions: { cacheControl: { "*.html": "no-cache", "css/**": "max-age=3600" } },
};
