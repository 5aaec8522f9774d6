// Plans of the three engines come out as one tree. The JSON below is hand-written after the servers' manuals.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readPlan, steps } from "../src/plan";

const outline = (plan: unknown) => {
  const root = readPlan(plan);
  return root === null ? null : steps(root).map((s) => [s.operation, s.relation, s.index, s.rows]);
};

const POSTGRES = [
  {
    Plan: {
      "Node Type": "Aggregate",
      Strategy: "Hashed",
      "Total Cost": 100,
      "Plan Rows": 5,
      "Group Key": ["o.status"],
      Plans: [
        {
          "Node Type": "Hash Join",
          "Join Type": "Left",
          "Total Cost": 90,
          "Plan Rows": 50,
          "Hash Cond": "(o.customer_id = c.id)",
          Plans: [
            { "Node Type": "Seq Scan", "Parallel Aware": true, "Relation Name": "orders", Alias: "o", Filter: "(total > $1)", "Total Cost": 60, "Plan Rows": 50 },
            { "Node Type": "Index Only Scan", "Relation Name": "customers", Alias: "customers", "Index Name": "customers_pkey", "Total Cost": 10, "Plan Rows": 9 },
          ],
        },
      ],
    },
  },
];

test("PostgreSQL: steps, what they read, and where the cost is", () => {
  assert.deepEqual(outline(JSON.stringify(POSTGRES)), [
    ["Hashed Aggregate", null, null, 5],
    ["Hash Join Left", null, null, 50],
    ["Parallel Seq Scan", "orders o", null, 50],
    ["Index Only Scan", "customers", "customers_pkey", 9],
  ]);
  const all = steps(readPlan(POSTGRES)!);
  assert.deepEqual(all.map((s) => Math.round((s.share ?? 0) * 100)), [10, 20, 60, 10]);
  assert.deepEqual(all.map((s) => s.fullScan), [false, false, true, false]);
  assert.deepEqual(all[2]!.details, [{ name: "Filter", text: "(total > $1)" }]);
  assert.deepEqual(outline(POSTGRES[0]!.Plan), outline(POSTGRES), "with or without its wrapping");
});

test("MariaDB: nested loops, sorts and full scans; no costs, no shares", () => {
  const plan = {
    query_block: {
      select_id: 1,
      filesort: {
        sort_key: "o.created_at desc",
        temporary_table: {
          nested_loop: [
            { table: { table_name: "o", access_type: "ALL", rows: 412000, filtered: 2.5, attached_condition: "o.status = ?" } },
            { "block-nl-join": { table: { table_name: "c", access_type: "ref", key: "region", ref: ["const"], rows: 3 }, buffer_type: "flat", join_type: "BNL" } },
          ],
        },
      },
    },
  };
  assert.deepEqual(outline(plan), [
    ["filesort", null, null, null],
    ["temporary table", null, null, null],
    ["full table scan", "o", null, 412000],
    ["block nested loop join", null, null, null],
    ["ref access", "c", "region", 3],
  ]);
  assert.ok(steps(readPlan(plan)!).every((s) => s.share === null));
});

test("MySQL: costs as text, ordering around grouping", () => {
  const plan = {
    query_block: {
      select_id: 1,
      cost_info: { query_cost: "41.70" },
      ordering_operation: {
        using_filesort: true,
        grouping_operation: { using_temporary_table: true, nested_loop: [{ table: { table_name: "l", access_type: "range", key: "created", rows_examined_per_scan: 88, cost_info: { prefix_cost: "41.70" } } }] },
      },
    },
  };
  assert.deepEqual(outline(plan), [
    ["query", null, null, null],
    ["ordering", null, null, null],
    ["grouping", null, null, null],
    ["range access", "l", "created", 88],
  ]);
});

test("MySQL and MariaDB: a derived table keeps its own steps below it", () => {
  const plan = { query_block: { table: { table_name: "<derived2>", access_type: "ALL", rows: 2, materialized: { query_block: { table: { table_name: "t", access_type: "index", key: "PRIMARY", rows: 9 } } } } } };
  assert.deepEqual(outline(plan), [
    ["full table scan", "<derived2>", null, 2],
    ["materialised", null, null, null],
    ["index access", "t", "PRIMARY", 9],
  ]);
});

test("what is no plan is none", () => {
  for (const bad of [null, undefined, "", "{", "[]", "{}", 7, { query_block: { message: 3 } }, [1], { Plan: null }]) assert.equal(readPlan(bad), null, JSON.stringify(bad));
});
