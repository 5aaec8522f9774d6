// Builds the pages into dist/ with esbuild alone; `--tests` bundles the tests of pure functions instead,
// `--watch` rebuilds on change. Names in dist/ carry a content hash, so that a browser never mixes versions.
import { build, context } from "esbuild";
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const at = (...parts) => path.join(here, ...parts);
const tests = process.argv.includes("--tests");
const watch = process.argv.includes("--watch");

/** The package folder a bundled file belongs to, or null for our own. */
function packageOf(input) {
  const marker = "node_modules/";
  const start = input.lastIndexOf(marker);
  if (start < 0) return null;
  const rest = input.slice(start + marker.length).split("/");
  return input.slice(0, start + marker.length) + (rest[0].startsWith("@") ? `${rest[0]}/${rest[1]}` : rest[0]);
}

/** Name, version, licence and its full text of every package whose code is in the bundle. */
async function licences(metafile) {
  const folders = new Set(Object.keys(metafile.inputs).map(packageOf).filter(Boolean));
  const found = [];
  for (const folder of [...folders].sort()) {
    const manifest = JSON.parse(await readFile(at(folder, "package.json"), "utf8"));
    const file = (await readdir(at(folder))).find((name) => /^licen[cs]e/i.test(name));
    if (!file) throw new Error(`${manifest.name} has no licence file`);
    const repository = typeof manifest.repository === "string" ? manifest.repository : manifest.repository?.url;
    found.push({
      name: manifest.name,
      version: manifest.version,
      licence: manifest.license,
      home: manifest.homepage ?? repository ?? "",
      text: await readFile(at(folder, file), "utf8"),
    });
  }
  return found;
}

const page = (script, style) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Tidewatch</title>
<link rel="icon" href="/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/${style}">
<script type="module" src="/${script}"></script>
</head>
<body><div id="app"></div><noscript>Tidewatch's pages need JavaScript. The same data answers at /api/v1.</noscript></body>
</html>
`;

/** Writes what esbuild does not: the page, the icon, the licences. */
async function finish(metafile) {
  const outputs = Object.keys(metafile.outputs).map((name) => path.basename(name));
  const script = outputs.find((name) => /^app-.*\.js$/.test(name));
  const style = outputs.find((name) => /^app-.*\.css$/.test(name));
  await writeFile(at("dist", "index.html"), page(script, style));
  await writeFile(at("dist", "favicon.svg"), await readFile(at("src", "favicon.svg")));
  await writeFile(at("dist", "licences.json"), JSON.stringify(await licences(metafile)));
  for (const [name, { bytes }] of Object.entries(metafile.outputs)) {
    if (!name.endsWith(".map")) console.log(`${path.basename(name)} ${(bytes / 1024).toFixed(1)} KiB`);
  }
}

if (tests) {
  const files = (await readdir(at("tests"))).filter((name) => name.endsWith(".test.ts"));
  const out = at("node_modules", ".cache", "tidewatch-tests");
  await rm(out, { recursive: true, force: true });
  await build({
    absWorkingDir: here,
    entryPoints: files.map((name) => at("tests", name)),
    outdir: out,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node18",
    logLevel: "warning",
  });
} else {
  if (existsSync(at("dist"))) await rm(at("dist"), { recursive: true });
  await mkdir(at("dist"));
  const version = JSON.parse(await readFile(at("package.json"), "utf8")).version;
  const options = {
    absWorkingDir: here,
    entryPoints: { app: at("src", "main.tsx") },
    outdir: at("dist"),
    entryNames: "[name]-[hash]",
    bundle: true,
    minify: !watch,
    sourcemap: watch,
    format: "esm",
    target: ["es2021", "chrome100", "firefox100", "safari15"],
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    define: { __VERSION__: JSON.stringify(version) },
    metafile: true,
    logLevel: "warning",
    plugins: [{ name: "finish", setup: (b) => b.onEnd((r) => (r.metafile ? finish(r.metafile) : undefined)) }],
  };
  if (watch) await (await context(options)).watch();
  else await build(options);
}
