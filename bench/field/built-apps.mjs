/**
 * Projects of frameworks that build before they serve, for `npm run field`: the files of a minimal project, its build, and the program that
 * the build produces.
 */

const JSON_TYPE = "application/json";
const BIG = "x".repeat(200_000);
const ECHOES = [
  ["POST", "/api/echo", JSON_TYPE, '{"a":1}'],
  ["POST", "/api/size", "application/octet-stream", BIG],
];
/** A stream that a page of each project returns: its first line must arrive before the last one is sent. */
const STREAM = `new ReadableStream({
  async start(controller) {
    for (let n = 0; n < 3; n++) {
      controller.enqueue(new TextEncoder().encode("line " + n + "\\n"));
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    controller.close();
  },
})`;

const NEXT = {
  packages: ["next@16.4.6", "react@19.3.1", "react-dom@19.3.1"],
  files: {
    "package.json": '{ "name": "field", "private": true }',
    "next.config.mjs": `
      export default { output: "standalone", outputFileTracingRoot: import.meta.dirname, turbopack: { root: import.meta.dirname } };`,
    "public/robots.txt": "User-agent: *\n",
    "app/layout.js": `
      export default function Layout({ children }) { return <html lang="en"><body>{children}</body></html>; }`,
    "app/page.js": "export default function Page() { return <h1>Hello, Next</h1>; }",
    "app/users/[id]/page.js": `
      export default async function Page({ params }) { const { id } = await params; return <p>User {id}</p>; }`,
    "app/api/echo/route.js": "export async function POST(request) { return Response.json(await request.json()); }",
    "app/api/size/route.js":
      "export async function POST(request) { return new Response(String((await request.arrayBuffer()).byteLength)); }",
    "app/api/stream/route.js": `
      export const dynamic = "force-dynamic";
      export function GET() { return new Response(${STREAM}); }`,
    "server.js": `
      const { createServer } = require("node:http");
      const next = require("next");
      const port = parseInt(process.env.PORT || "3000", 10);
      const dev = process.env.NODE_ENV !== "production";
      const app = next({ dev });
      const handle = app.getRequestHandler();
      app.prepare().then(() => {
        createServer((req, res) => handle(req, res)).listen(port);
        console.log("> Server listening at http://localhost:" + port);
      });`,
  },
  build: [
    ["node", "node_modules/next/dist/bin/next", "build"],
    ["cp", "-r", "public", ".next/standalone/"],
    ["cp", "-r", ".next/static", ".next/standalone/.next/"],
  ],
  requests: ["GET /", "GET /users/7", "GET /robots.txt", "GET /nowhere", ...ECHOES],
  stream: "/api/stream",
};

const REACT_ROUTER = {
  packages: [
    "react-router@7.18.4",
    "@react-router/node@7.18.4",
    "@react-router/serve@7.18.4",
    "@react-router/express@7.18.4",
    "@react-router/dev@7.18.4",
    "express@4.22.3",
    "isbot@5.2.3",
    "react@19.3.1",
    "react-dom@19.3.1",
    "vite@7.3.8",
  ],
  files: {
    "package.json": '{ "name": "field", "private": true, "type": "module" }',
    "react-router.config.ts": "export default { ssr: true };",
    "vite.config.ts": `
      import { reactRouter } from "@react-router/dev/vite";
      export default { plugins: [reactRouter()] };`,
    "public/robots.txt": "User-agent: *\n",
    "app/root.tsx": `
      import { Links, Meta, Outlet, Scripts } from "react-router";
      export default function Root() {
        return <html lang="en"><head><Meta /><Links /></head><body><Outlet /><Scripts /></body></html>;
      }`,
    "app/routes.ts": `
      import { index, route } from "@react-router/dev/routes";
      export default [
        index("home.tsx"),
        route("users/:id", "user.tsx"),
        route("api/echo", "echo.ts"),
        route("api/size", "size.ts"),
        route("api/stream", "stream.ts"),
      ];`,
    "app/home.tsx": "export default function Home() { return <h1>Hello, React Router</h1>; }",
    "app/user.tsx": `
      export function loader({ params }: { params: { id: string } }) { return { id: params.id }; }
      export default function User({ loaderData }: { loaderData: { id: string } }) { return <p>User {loaderData.id}</p>; }`,
    "app/echo.ts":
      "export async function action({ request }: { request: Request }) { return Response.json(await request.json()); }",
    "app/size.ts": `
      export async function action({ request }: { request: Request }) {
        return new Response(String((await request.arrayBuffer()).byteLength));
      }`,
    "app/stream.ts": `export function loader() { return new Response(${STREAM}); }`,
    "server.mjs": `
      import { createRequestHandler } from "@react-router/express";
      import express from "express";
      import * as build from "./build/server/index.js";
      const app = express();
      app.use(express.static("build/client"));
      app.all("*", createRequestHandler({ build }));
      app.listen(process.env.PORT || 3000, () => console.log("listening"));`,
  },
  build: [["node", "node_modules/@react-router/dev/bin.js", "build"]],
  requests: ["GET /", "GET /users/7", "GET /robots.txt", "GET /nowhere", ...ECHOES],
  stream: "/api/stream",
};

export const BUILT_APPS = [
  {
    name: "Next, standalone",
    ...NEXT,
    program: ".next/standalone/server.js",
    setting: '`output: "standalone"`; copy `public` and `.next/static` there',
  },
  { name: "Next, `next start`", ...NEXT, program: "node_modules/next/dist/bin/next", args: ["start"] },
  { name: "Next, custom server", ...NEXT, program: "server.js" },
  {
    name: "Nuxt",
    packages: ["nuxt@4.3.1", "vue@3.5.45", "vue-router@4.6.5"],
    files: {
      "package.json": '{ "name": "field", "private": true, "type": "module" }',
      "nuxt.config.ts": 'export default defineNuxtConfig({ compatibilityDate: "2025-07-15", telemetry: false });',
      "public/robots.txt": "User-agent: *\n",
      "app/app.vue": "<template><NuxtPage /></template>",
      "app/pages/index.vue": "<template><h1>Hello, Nuxt</h1></template>",
      "app/pages/users/[id].vue": "<template><p>User {{ $route.params.id }}</p></template>",
      "server/api/echo.post.ts": "export default defineEventHandler((event) => readBody(event));",
      "server/api/size.post.ts":
        "export default defineEventHandler(async (event) => String((await readRawBody(event, false)).length));",
      "server/api/stream.get.ts": `export default defineEventHandler((event) => sendStream(event, ${STREAM}));`,
    },
    build: [["node", "node_modules/nuxt/bin/nuxt.mjs", "build"]],
    program: ".output/server/index.mjs",
    requests: ["GET /", "GET /users/7", "GET /robots.txt", ...ECHOES],
    stream: "/api/stream",
  },
  {
    name: "SvelteKit, adapter-node",
    packages: [
      "@sveltejs/kit@2.70.4",
      "@sveltejs/adapter-node@5.5.7",
      "@sveltejs/vite-plugin-svelte@6.2.4",
      "svelte@5.57.3",
      "vite@7.3.8",
    ],
    files: {
      "package.json": '{ "name": "field", "private": true, "type": "module" }',
      "svelte.config.js": `
        import adapter from "@sveltejs/adapter-node";
        export default { kit: { adapter: adapter() } };`,
      "vite.config.js": `
        import { sveltekit } from "@sveltejs/kit/vite";
        export default { plugins: [sveltekit()] };`,
      "static/robots.txt": "User-agent: *\n",
      "src/app.html": `
        <!doctype html><html lang="en"><head>%sveltekit.head%</head><body><div>%sveltekit.body%</div></body></html>`,
      "src/routes/+page.svelte": "<h1>Hello, SvelteKit</h1>",
      "src/routes/users/[id]/+page.server.js":
        "export function load({ params, url }) { return { id: params.id, at: url.href }; }",
      "src/routes/users/[id]/+page.svelte":
        "<script>let { data } = $props();</script><p>User {data.id} at {data.at}</p>",
      "src/routes/form/+page.server.js":
        "export const actions = { default: async ({ request }) => ({ name: (await request.formData()).get('name') }) };",
      "src/routes/form/+page.svelte":
        "<script>let { form } = $props();</script><form method='POST'><input name='name'>{form?.name}</form>",
      "src/routes/api/echo/+server.js": `
        import { json } from "@sveltejs/kit";
        export async function POST({ request }) { return json(await request.json()); }`,
      "src/routes/api/size/+server.js":
        "export async function POST({ request }) { return new Response(String((await request.arrayBuffer()).byteLength)); }",
      "src/routes/api/stream/+server.js": `export function GET() { return new Response(${STREAM}); }`,
    },
    build: [["node", "node_modules/vite/bin/vite.js", "build"]],
    program: "build/index.js",
    env: { ORIGIN: "http://app.example" },
    setting: "`ORIGIN`, or `PROTOCOL_HEADER` and `HOST_HEADER`",
    requests: [
      "GET /",
      "GET /users/7",
      "GET /robots.txt",
      "GET /nowhere",
      ["POST", "/form", "application/x-www-form-urlencoded", "name=Ada"],
      ...ECHOES,
    ],
    headers: { origin: "http://app.example" },
    stream: "/api/stream",
  },
  {
    name: "Astro, node standalone",
    packages: ["astro@5.18.2", "@astrojs/node@9.5.5"],
    files: {
      "package.json": '{ "name": "field", "private": true, "type": "module" }',
      "astro.config.mjs": `
        import node from "@astrojs/node";
        export default { output: "server", adapter: node({ mode: "standalone" }), security: { checkOrigin: false } };`,
      "public/robots.txt": "User-agent: *\n",
      "src/pages/index.astro":
        "<html lang='en'><body><h1>Hello, Astro</h1><script>console.log('page');</script></body></html>",
      "src/pages/users/[id].astro": "<html lang='en'><body><p>User {Astro.params.id}</p></body></html>",
      "src/pages/api/echo.js":
        "export async function POST({ request }) { return Response.json(await request.json()); }",
      "src/pages/api/size.js":
        "export async function POST({ request }) { return new Response(String((await request.arrayBuffer()).byteLength)); }",
      "src/pages/api/stream.js": `export function GET() { return new Response(${STREAM}); }`,
    },
    build: [["node", "node_modules/astro/astro.js", "build"]],
    program: "dist/server/entry.mjs",
    requests: ["GET /", "GET /users/7", "GET /robots.txt", "GET /nowhere", ...ECHOES],
    stream: "/api/stream",
  },
  {
    name: "React Router, `react-router-serve`",
    ...REACT_ROUTER,
    program: "node_modules/@react-router/serve/bin.js",
    args: ["./build/server/index.js"],
  },
  { name: "React Router, custom server", ...REACT_ROUTER, program: "server.mjs" },
  {
    name: "Express generator",
    packages: [
      "express-generator@4.16.1",
      "cookie-parser@1.4.7",
      "debug@2.6.9",
      "express@4.16.4",
      "http-errors@1.6.3",
      "morgan@1.9.1",
      "pug@3.0.4",
    ],
    files: {},
    build: [["node", "node_modules/express-generator/bin/express-cli.js", "--view=pug", "--force", "app"]],
    program: "app/bin/www",
    requests: ["GET /", "GET /stylesheets/style.css", "GET /users", "GET /nowhere"],
  },
  {
    name: "verdaccio",
    packages: ["verdaccio@6.2.9"],
    files: {
      // A dependency requests a tag of node-fetch that no longer exists.
      "package.json": '{ "name": "field", "private": true, "overrides": { "node-fetch": "2.7.0" } }',
      // Each process keeps its list of packages in memory, so several processes would not see each other's publications.
      "config.yaml": `
        storage: ./storage
        auth: { htpasswd: { file: ./htpasswd } }
        packages: { "**": { access: $all, publish: $authenticated } }
        web: { title: Field }
        log: { type: stdout, format: json, level: error }`,
    },
    program: "node_modules/verdaccio/bin/verdaccio",
    args: ["--config", "config.yaml", "--listen", "127.0.0.1:PORT"],
    setting: "`-i 1` if packages are published",
    requests: ["GET /-/ping", "GET /left-pad", "GET /-/verdaccio/data/packages"],
    page: "/",
  },
];
