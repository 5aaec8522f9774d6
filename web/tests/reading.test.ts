// Text for people: statements, numbers, times, words; and the small decisions of charts and lists.
import assert from "node:assert/strict";
import { test } from "node:test";
import { duration, grouped, number, parseTime } from "../src/format";
import { browserLang, fill } from "../src/language";
import { fillQuery, HOST, lineName, MYSQL, POSTGRESQL } from "../src/panels";
import { layout, tokens } from "../src/sql_text";
import { WORDS } from "../src/words";

test("tokens put together are the text", () => {
  for (const text of ["", "SELECT 'it''s', \"a b\", $1 FROM t -- why\nWHERE x::int >= 1.5e3 /* cut", "select `a` from 表 where b = '中", "INSERT INTO t VALUES (?, :name)\u0000\ud83d\ude00"]) {
    assert.equal(tokens(text).map((t) => t.text).join(""), text);
  }
  assert.deepEqual(
    tokens("SELECT a.b, 'x' FROM t WHERE id = $1").filter((t) => t.kind !== "space" && t.kind !== "symbol").map((t) => t.kind),
    ["keyword", "name", "name", "text", "keyword", "name", "keyword", "name", "param"],
  );
});

test("layout changes nothing but white space", () => {
  const texts = [
    "SELECT a FROM t",
    "SELECT a, b FROM orders o LEFT JOIN customers c ON c.id = o.customer_id WHERE x BETWEEN $1 AND $2 AND (y = 1 OR z IN (SELECT q FROM r)) ORDER BY a LIMIT 5",
    "INSERT INTO t (a, b, c, d, e, f, g) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (a) DO UPDATE SET b = $8",
    "DELETE FROM sessions WHERE last_seen < now() - interval '1 hour' AND user_id IS DISTINCT FROM $1",
  ];
  for (const text of texts) assert.equal(layout(text).replace(/\s+/g, " "), text);
  assert.equal(
    layout(texts[1]!),
    "SELECT a, b\nFROM orders o\n  LEFT JOIN customers c ON c.id = o.customer_id\nWHERE x BETWEEN $1 AND $2\n  AND (y = 1 OR z IN (SELECT q FROM r))\nORDER BY a\nLIMIT 5",
  );
});

test("numbers", () => {
  const table: [string, string][] = [
    [number(null), "–"],
    [number(NaN, "bytes"), "–"],
    [number(0, "per_second"), "0/s"],
    [number(1536, "bytes"), "1.5 KiB"],
    [number(1_250_000), "1.25 M"],
    [number(0.0004), "0.0004"],
    [number(0.9987, "ratio"), "99.87 %"],
    [number(1, "ratio"), "100 %"],
    [number(0.99999, "ratio"), "100 %"],
    [number(Infinity), "∞"],
    [number(90, "seconds"), "1 min 30 s"],
    [duration(0.004), "4 µs"],
    [duration(999), "999 ms"],
    [duration(3_661_000), "1 h 1 min"],
    [duration(86_400_000 * 3 + 5), "3 d"],
    [duration(-90_000), "−1 min 30 s"],
    [grouped(1_234_567), "1\u2009234\u2009567"],
  ];
  for (const [got, want] of table) assert.equal(got, want);
});

test("times", () => {
  assert.equal(parseTime("2026-11-22T16:08:48.778Z"), 1_795_363_728_778);
  assert.equal(parseTime("2026-11-22T16:08:48.778"), 1_795_363_728_778, "without a zone it is UTC");
  assert.equal(parseTime("2026-11-22 17:08:48.778+01:00"), 1_795_363_728_778);
  assert.equal(parseTime(5), 5);
  for (const bad of [null, undefined, "", "soon", {}]) assert.equal(parseTime(bad), null);
});

test("every word is said in both languages, with the same places", () => {
  const places = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort();
  for (const [key, [en, zh]] of Object.entries<readonly [string, string]>(WORDS)) {
    assert.ok(en !== "" && zh !== "", key);
    assert.deepEqual(places(en), places(zh), key);
  }
  assert.equal(fill("{a} of {b} {c}", { a: 1, b: "x" }), "1 of x {c}");
  assert.equal(browserLang(["de-DE", "zh-CN", "en"]), "zh");
  assert.equal(browserLang(["en-GB", "zh"]), "en");
  assert.equal(browserLang([]), "en");
});

test("panels: keys are distinct, no place stays unfilled, a name is only a name", () => {
  for (const list of [POSTGRESQL, MYSQL, HOST]) {
    assert.equal(new Set(list.map((s) => s.key)).size, list.length);
    for (const spec of list) {
      for (const query of spec.asks.flatMap((a) => a.queries)) {
        assert.ok(!fillQuery(query, "a", "b", "60s").includes("$"), query);
      }
    }
  }
  assert.equal(fillQuery("x{$i} / y{$h}[$w]", "a", "b", "60s"), 'x{instance="a"} / y{instance="b"}[60s]');
  assert.equal(fillQuery("x{$i} / y{$h}[$w]", "$h$w$&", '"} or z{', "60s"), 'x{instance="$h$w$&"} / y{instance="\\"} or z{"}[60s]');
  assert.equal(lineName("{state}", { state: "idle" }), "idle");
  assert.equal(lineName("{state}", {}), "–");
});
