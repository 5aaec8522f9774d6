// What operators see and do: lists of alerts, silences, the ledger in words, forecasts, templates.
import assert from "node:assert/strict";
import { test } from "node:test";
import { countsByLevel, groupedAlerts, instancesOf, latestFirst, passing, worstFirst } from "../src/alert_list";
import type { Alert, Step } from "../src/api";
import { nearRange } from "../src/chart_range";
import { drawing, guessUnit, reachText, testText, type ForecastSeries } from "../src/forecast";
import { lasting, setLang } from "../src/language";
import { runbookSteps, seriesTitle, templateOutline } from "../src/rule_text";
import { endOf, matchersOf, matchersText, ordered, readMatchers, usable, withOperator, type Matcher, type Silence } from "../src/silence";
import { folded, groupText, levelHistory, sayings, sentence, stateReason } from "../src/steps";

function alert(rule: string, level: string | null, fired: number, labels: Record<string, string> = {}): Alert {
  return {
    id: `${rule}-${fired}`,
    fingerprint: "00ff",
    rule,
    group: null,
    state: "firing",
    level,
    labels: { alertname: rule, ...labels },
    annotations: { summary: `about ${rule}` },
    value: 1,
    active_at_ms: fired,
    fired_at_ms: fired,
    resolved_at_ms: null,
  };
}

const LIST = [alert("Disk", "warning", 3, { instance: "a" }), alert("Lock", "critical", 1, { instance: "b" }), alert("Old", null, 2, { severity: "page" }), alert("Lock", "notice", 9, { instance: "a" })];
const names = (list: readonly Alert[]) => list.map((a) => a.id);

test("lists of alerts: filters, order, groups", () => {
  assert.deepEqual(names(worstFirst(LIST)), ["Old-2", "Lock-1", "Disk-3", "Lock-9"]);
  assert.deepEqual(names(latestFirst(LIST)), ["Lock-9", "Disk-3", "Old-2", "Lock-1"]);
  assert.deepEqual(countsByLevel(LIST), { critical: 2, warning: 1, notice: 1, none: 0 });
  assert.deepEqual(instancesOf(LIST), ["a", "b"]);
  const cases: [Parameters<typeof passing>[1], string[]][] = [
    [{ level: null, instance: null, text: "" }, names(LIST)],
    [{ level: "critical", instance: null, text: "" }, ["Lock-1", "Old-2"]],
    [{ level: null, instance: "a", text: "" }, ["Disk-3", "Lock-9"]],
    [{ level: null, instance: null, text: "LOCK instance=a" }, ["Lock-9"]],
    [{ level: null, instance: null, text: "about disk" }, ["Disk-3"]],
    [{ level: null, instance: "b", text: "disk" }, []],
  ];
  for (const [filter, want] of cases) assert.deepEqual(names(passing(LIST, filter)), want, JSON.stringify(filter));
  assert.deepEqual(groupedAlerts(worstFirst(LIST), "rule").map((g) => [g.key, g.alerts.length]), [["Old", 1], ["Lock", 2], ["Disk", 1]]);
  assert.deepEqual(groupedAlerts([], "none"), []);
});

test("matchers survive their text, whatever is in them", () => {
  const all: Matcher[] = ["plain", 'a "quoted", =~ thing', "back\\slash\nline", "中文"].flatMap((value) =>
    (["=", "!=", "=~", "!~"] as const).map((operator) => withOperator({ name: "a_label", value, isRegex: false, isEqual: true }, operator)),
  );
  assert.deepEqual(readMatchers(matchersText(all)), all);
  assert.deepEqual(readMatchers(" "), []);
  for (const text of ["x", "x=y", 'x="y" z="w"', 'x==="y"', '1x="y"']) assert.equal(readMatchers(text), null, text);
});

test("a silence of an alert follows it through its levels, and is about something", () => {
  const made = matchersOf({ severity: "warning", instance: "a", level: "warning", alertname: "Disk", empty: "" });
  assert.equal(matchersText(made), 'alertname="Disk", instance="a"');
  const one = (value: string, operator: "=" | "!=" | "=~" | "!~") => [withOperator({ name: " x ", value, isRegex: false, isEqual: true }, operator)];
  assert.equal(usable(one("y", "="))?.[0]?.name, "x");
  for (const useless of [one("", "="), one(".*", "=~"), one("y", "!="), one("y", "!~"), []]) assert.equal(usable(useless), null, JSON.stringify(useless));
});

test("silences: ends and order", () => {
  const now = new Date(2026, 10, 26, 23, 30).getTime();
  assert.equal(endOf("4h", now) - now, 4 * 3_600_000);
  const morning = new Date(endOf("morning", now));
  assert.deepEqual([morning.getDate(), morning.getHours(), morning.getMinutes()], [27, 9, 0]);
  const silence = (id: string, state: Silence["status"]["state"], endsAt: string): Silence => ({ id, status: { state }, matchers: [], startsAt: "", endsAt, createdBy: "", comment: "" });
  const list = [silence("old", "expired", "2026-01-01T00:00:00Z"), silence("late", "active", "2026-03-01T00:00:00Z"), silence("newer", "expired", "2026-02-01T00:00:00Z"), silence("soon", "active", "2026-02-02T00:00:00Z"), silence("next", "pending", "2026-02-01T00:00:00Z")];
  assert.deepEqual(ordered(list).map((s) => s.id), ["soon", "late", "next", "newer", "old"]);
});

function step(event: string, more: Partial<Step> = {}): Step {
  return { ts_ms: 0, event, level: null, value: null, reason: null, receiver: null, detail: null, ...more };
}

test("the ledger in words", () => {
  const cases: [Step, string, string][] = [
    [step("pending", { reason: "condition_holds" }), "pending (the condition holds)", "待触发（条件成立）"],
    [step("firing", { level: "critical", reason: "held_long_enough" }), "fired as critical (it held for as long as the rule asks)", "触发，级别严重（已持续达到规则要求的时间）"],
    [step("level", { level: "warning", detail: { from_level: "critical" } }), "level critical → warning", "级别 严重 → 警告"],
    [step("grouped", { receiver: "ops", reason: '{}/{severity="page"}:{alertname="X"}' }), 'joined group {alertname="X"} of ops', '加入 ops 的分组 {alertname="X"}'],
    [step("sent", { receiver: "ops", detail: { channel: "sms", answer: "OK" } }), "message sent to ops by sms (receipt OK)", "已通过 sms 通知 ops（回执 OK）"],
    [step("retry", { receiver: "ops", detail: { channel: "mail", answer: "451" } }), "message to ops by mail is tried again: 451", "通过 mail 通知 ops 将重试：451"],
    [step("silenced", { receiver: "ops", reason: "silenced by 5f" }), "not told to ops: silenced (5f)", "未通知 ops：已静默（5f）"],
    [step("held", { receiver: "ops", reason: "storm" }), "held back for ops (many groups began at once)", "暂缓通知 ops（大量告警同时发生）"],
    [step("unacknowledged", { reason: "level_rose" }), "acknowledgement taken back (it got worse)", "确认已撤回（级别升高）"],
    [step("acknowledged", { reason: "taken", detail: { by: "Li", comment: "" } }), "acknowledged by Li", "Li 已确认"],
    [step("acknowledged", { reason: "Li", detail: { comment: "mine" } }), "acknowledged by Li (mine)", "Li 已确认（mine）"],
    [step("unheard of", { receiver: "ops", reason: "why not" }), "unheard of → ops (why not)", "unheard of → ops（why not）"],
  ];
  for (const [of, en, zh] of cases) {
    setLang("zh");
    assert.equal(sentence(of), zh);
    setLang("en");
    assert.equal(sentence(of), en);
  }
  assert.equal(groupText("{}:{}"), "{}:{}");
  setLang("zh");
  assert.deepEqual([lasting(90_000), lasting(90_000_000), lasting(42)], ["1 分 30 秒", "1 天 1 小时", "42 ms"]);
  setLang("en");
});

test("equal steps in a row are one, sendings never, and long ledgers fold", () => {
  const steps = [step("grouped", { receiver: "a" }), step("silenced", { receiver: "a" }), step("silenced", { receiver: "a" }), step("silenced", { receiver: "b" }), step("sent"), step("sent")];
  assert.deepEqual(sayings(steps).map((s) => [s.first.event, s.times]), [["grouped", 1], ["silenced", 2], ["silenced", 1], ["sent", 1], ["sent", 1]]);
  const list = Array.from({ length: 40 }, (_, i) => i);
  const { head, middle, tail } = folded(list);
  assert.deepEqual([...head, ...middle, ...tail], list);
  assert.ok(middle.length > 20);
  assert.equal(folded(list.slice(0, 16)).middle.length, 0);
});

test("levels since it fired last, and why it is as it is", () => {
  const steps = [step("firing", { level: "notice" }), step("resolved", { reason: "no_data" }), step("firing", { level: "warning", ts_ms: 5, reason: "held_long_enough" }), step("level", { level: "critical", ts_ms: 6, reason: "recovered" }), step("sent", { level: "critical" })];
  assert.deepEqual(levelHistory(steps), [
    { level: "warning", sinceMs: 5 },
    { level: "critical", sinceMs: 6 },
  ]);
  assert.equal(stateReason(steps), "it held for as long as the rule asks");
  assert.equal(stateReason([]), null);
});

const DAY = 86_400_000;
const FULL: ForecastSeries = {
  labels: {},
  history: [
    [0, 50],
    [DAY, 60],
  ],
  forecast: [
    [2 * DAY, 70, 65, 75],
    [3 * DAY, 80, 70, 90],
  ],
  model: "drift",
  mase: 0.8,
  coverage: 0.81,
  confidence: 0.8,
  threshold: 80,
  reaches_at_ms: 3 * DAY,
  reaches_from_ms: 2 * DAY + DAY / 2,
  reaches_to_ms: null,
};

test("a forecast begins where the measured ends, and says when it reaches its limit", () => {
  const { times, series, marks } = drawing(FULL);
  assert.deepEqual(times, [0, 86_400, 172_800, 259_200]);
  assert.deepEqual(series[0]?.values, [50, 60, null, null]);
  assert.deepEqual(series.find((s) => s.edge === "high")?.values, [null, 60, 75, 90]);
  assert.deepEqual(series.find((s) => s.edge === "low")?.values, [null, 60, 65, 70]);
  assert.deepEqual(series.find((s) => s.limit)?.values, [80, 80, 80, 80]);
  assert.equal(marks.length, 2);
  assert.match(reachText(FULL, "percent") ?? "", /^reaches 80 % in 2 d \(80 %: 1 d 12 h – later\)$/);
  assert.match(reachText({ ...FULL, reaches_at_ms: null, reaches_from_ms: null }, "percent") ?? "", /^does not reach 80 % within 2 d$/);
  assert.match(reachText({ ...FULL, reaches_at_ms: DAY + 83_400 }, "percent") ?? "", / in 1 min 23 s \(/);
  assert.equal(reachText({ ...FULL, threshold: null }, "percent"), null);
  assert.match(testText(FULL), /model drift.*0\.8.*81 %/);
  const units: [string, string][] = [
    ["100 * (1 - a_bytes / b_bytes)", "percent"],
    ["node_memory_free_bytes", "bytes"],
    ["rate(x_bytes[5m])", "count"],
    ["up_seconds", "seconds"],
    ["disk_used_ratio", "ratio"],
    ["up", "count"],
  ];
  for (const [query, unit] of units) assert.equal(guessUnit(query), unit, query);
});

test("a template before it is filled in reads as words", () => {
  const cases: [string, string][] = [
    ["plain 5 % {x}", "plain 5 % {x}"],
    ['{{ $labels.instance }} uses {{ printf "%.0f" $value }} %', "‹instance› uses ‹value› %"],
    ["{{ if $forecast.reaches }}full in {{ $forecast.reaches }}{{ else }}not full{{ end }}.", "full in ‹reaches›."],
    ["{{ if .x }}a{{ if .y }}b{{ else }}c{{ end }}d{{ end }}e", "abde"],
    ["{{ $forecast.reaches_zh }}后 {{ query \"up\" | first | value }}", "‹reaches›后 …"],
    ["{{ unclosed", "{{ unclosed"],
  ];
  for (const [template, want] of cases) assert.equal(templateOutline(template), want);
});

test("runbooks are steps in both languages; titles of evidence are known", () => {
  assert.deepEqual(runbookSteps("1. Look. 2. Act: 3.5 GB is enough. 3. Rest."), ["Look.", "Act: 3.5 GB is enough.", "Rest."]);
  assert.deepEqual(runbookSteps("1. 查看。2. 处理。"), ["查看。", "处理。"]);
  assert.deepEqual(runbookSteps("Call 2. the admin"), ["Call 2. the admin"]);
  assert.equal(seriesTitle("active sessions", "zh"), "活动会话");
  assert.equal(seriesTitle("active sessions", "en"), "active sessions");
  assert.equal(seriesTitle("somebody's own", "zh"), "somebody's own");
});

test("a forecast far above zero is drawn in its own range", () => {
  assert.deepEqual(nearRange(90, 100, "count"), [88.5, 101.5]);
  assert.deepEqual(nearRange(90, 99, "percent"), [88.65, 100]);
  for (const [min, max] of [[1, 100], [0, 3], [5, 5], [-1, 1]] as const) assert.ok(nearRange(min, max, "count")[0] <= 0, `${min} to ${max}`);
});
