// Sessions that wait for each other become trees.
import assert from "node:assert/strict";
import { test } from "node:test";
import { blockers, blockingTrees, type Blocked, type Session } from "../src/blocking";

const session = (pid: number, by?: number[]): Session => ({ pid, blocked_by: by === undefined ? null : JSON.stringify(by) });
const outline = (trees: Blocked<Session>[]): unknown[] => trees.map((t) => (t.blocked.length === 0 ? t.session.pid : [t.session.pid, ...outline(t.blocked)]));

test("trees", () => {
  const table: [string, Session[], unknown[]][] = [
    ["nobody waits", [session(1), session(2)], []],
    ["a chain", [session(3, [2]), session(2, [1]), session(1), session(9)], [[1, [2, 3]]]],
    ["two queues, the longer first", [session(1), session(2, [1]), session(5), session(6, [5]), session(7, [5])], [[5, 6, 7], [1, 2]]],
    ["several blockers: below the first we know", [session(1), session(2), session(3, [8, 2, 1])], [[2, 3]]],
    ["a blocker we have no row of", [session(3, [77])], [3]],
    ["waits for itself (a lock group)", [session(3, [3])], [3]],
    ["a deadlock is cut once", [session(1, [2]), session(2, [1])], [[1, 2]]],
    ["a cycle of three with one behind it", [session(1, [3]), session(2, [1]), session(3, [2]), session(4, [3])], [[1, [2, [3, 4]]]]],
  ];
  for (const [name, sessions, want] of table) {
    const trees = blockingTrees(sessions);
    assert.deepEqual(outline(trees), want, name);
    assert.deepEqual(outline(blockingTrees([...sessions].reverse())), want, `${name}, other order`);
  }
});

test("the number waiting counts those behind others", () => {
  const [tree] = blockingTrees([session(1), session(2, [1]), session(3, [2]), session(4, [2])]);
  assert.equal(tree?.waiting, 3);
});

test("blocked_by is read with care", () => {
  assert.deepEqual(blockers("[1,2]"), [1, 2]);
  for (const bad of [null, "", "x", "{}", "7", '["a"]']) assert.deepEqual(blockers(bad), []);
});
