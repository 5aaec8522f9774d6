// Ranges in the address, steps and grids.
import assert from "node:assert/strict";
import { test } from "node:test";
import { onGrid } from "../src/api";
import { DEFAULT_CHOICE, grid, LAST, rateWindow, readChoice, resolve, stepSeconds, writeChoice, type Choice } from "../src/range";
import { linkTo, pathOf, readRoute, type Route } from "../src/route";

test("a choice survives the address", () => {
  const choices: Choice[] = [...LAST.map((l): Choice => ({ kind: "last", name: l.name })), { kind: "fixed", fromMs: 1000, toMs: 2000 }];
  for (const choice of choices) {
    const query = new URLSearchParams("tab=logs&range=7d");
    writeChoice(query, choice);
    assert.deepEqual(readChoice(query), choice);
    assert.equal(query.get("tab"), "logs");
  }
});

test("an unreadable choice is the default", () => {
  for (const text of ["", "range=2h", "from=5", "from=9&to=3", "from=x&to=y", "from=-5&to=3", "from=1.5&to=3"]) {
    assert.deepEqual(readChoice(new URLSearchParams(text)), DEFAULT_CHOICE, text);
  }
});

test("steps are round, windows without holes, grids steady", () => {
  const hour = resolve({ kind: "last", name: "1h" }, 7_200_000);
  assert.deepEqual(hour, { fromMs: 3_600_000, toMs: 7_200_000 });
  const table: [string, number, string][] = [
    ["15m", 5, "60s"],
    ["1h", 15, "60s"],
    ["6h", 120, "120s"],
    ["24h", 600, "600s"],
    ["7d", 3600, "3600s"],
  ];
  for (const [name, step, window] of table) {
    const range = resolve({ kind: "last", name }, Date.UTC(2026, 10, 22, 16, 8, 7, 123));
    assert.equal(stepSeconds(range), step, name);
    assert.equal(rateWindow(step), window, name);
    const times = grid(range, step);
    assert.ok(times.length > 100 && times.length <= 241, `${name}: ${times.length}`);
    assert.ok(times.every((t) => t % step === 0 && t * 1000 >= range.fromMs && t * 1000 <= range.toMs));
    const later = new Set(grid({ fromMs: range.fromMs + 1000, toMs: range.toMs + 1000 }, step));
    assert.ok(times.slice(1, -1).every((t) => later.has(t)), "a refresh keeps the grid");
  }
});

test("what is missing or not a number is a hole", () => {
  const pairs: [number, string][] = [
    [10, "1"],
    [20, "NaN"],
    [40, "+Inf"],
    [50, "-2.5e-3"],
  ];
  assert.deepEqual(onGrid([0, 10, 20, 30, 40, 50], pairs), [null, 1, null, null, null, -0.0025]);
});

test("every page has one address", () => {
  const routes: Route[] = [
    { page: "overview" },
    { page: "database", instance: "orders/primary: 观潮" },
    { page: "statement", instance: "a b", fingerprint: "00ff" },
    { page: "alerts" },
    { page: "alert", id: "x/y" },
    { page: "silences" },
    { page: "rules" },
    { page: "explore" },
    { page: "forecast" },
    { page: "about" },
  ];
  for (const route of routes) assert.deepEqual(readRoute(pathOf(route)), route);
  assert.deepEqual(readRoute("/graph"), { page: "explore" });
  assert.equal(readRoute("/db").page, "unknown");
  assert.equal(readRoute("/db/%E0%A4%A").page, "unknown");
  assert.equal(linkTo({ page: "alert", id: "7" }, new URLSearchParams("range=6h&tab=logs"), { a: "b" }), "/alert/7?range=6h&a=b");
});
