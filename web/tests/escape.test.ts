// What goes into a query can't leave its place.
import assert from "node:assert/strict";
import { test } from "node:test";
import { promText, sqlInt, sqlList, sqlText, sqlTime } from "../src/escape";
import { logLines, topStatements } from "../src/queries";
import { tokens } from "../src/sql_text";

const NASTY = ["", "o'brien", "'; DROP TABLE logs; --", "\\", "\\'", "''", 'a"b', "новый", "观潮", "line\nbreak", "nul\u0000nul", "%_", "$1", "--", "/*"];

/** Reads an SQL literal back by the standard's rule; null when the text is not exactly one literal. */
function readSqlText(literal: string): string | null {
  const match = /^'((?:[^']|'')*)'$/.exec(literal);
  return match === null ? null : match[1]!.replaceAll("''", "'");
}

test("an SQL literal reads back as what it was made from", () => {
  for (const value of NASTY) assert.equal(readSqlText(sqlText(value)), value.replaceAll("\u0000", ""), JSON.stringify(value));
});

test("a PromQL string reads back as what it was made from", () => {
  for (const value of NASTY) {
    const literal = promText(value);
    assert.ok(!literal.includes("\n"), "one line");
    assert.equal(JSON.parse(literal.replaceAll("\u0000", "\\u0000")), value);
  }
});

test("numbers and times are nothing else", () => {
  assert.equal(sqlInt(12), "12");
  for (const bad of [1.5, NaN, Infinity, 2 ** 60]) assert.throws(() => sqlInt(bad));
  assert.equal(sqlTime(0), "TIMESTAMP '1970-01-01T00:00:00.000Z'");
  assert.equal(sqlTime(1_795_363_728_778.4), "TIMESTAMP '2026-11-22T16:08:48.778Z'");
  assert.throws(() => sqlTime(NaN));
});

test("a list is never empty", () => {
  assert.equal(sqlList([]), "(NULL)");
  assert.equal(sqlList(["a", "b'c"]), "('a', 'b''c')");
});

test("nothing a user typed stands outside a literal of a whole query", () => {
  const range = { fromMs: 0, toMs: 60_000 };
  const plain = (value: string) =>
    [logLines(value, range, { levels: [value], class: value || "x", search: value || "x" }, 10), topStatements(value, range, "calls", 5)].map((q) =>
      tokens(q)
        .filter((t) => t.kind !== "text")
        .map((t) => t.text)
        .join(""),
    );
  for (const value of NASTY) assert.deepEqual(plain(value), plain("x"), JSON.stringify(value));
});
