// A plan as a tree: EXPLAIN (FORMAT JSON) of PostgreSQL, MariaDB and MySQL brought into one shape that can be drawn.

/** A step of a plan. */
export interface PlanNode {
  /** What is done, in the server's own words: `Index Scan`, `ref`, `filesort`. */
  operation: string;
  /** Table or alias it reads. */
  relation: string | null;
  index: string | null;
  /** Rows the planner expects. */
  rows: number | null;
  /** The planner's cost up to here, children included. */
  cost: number | null;
  /** Share (0–1) of the whole plan's cost spent in this step alone; null where the server gives no costs. */
  share: number | null;
  /** Conditions, keys and the like, as the server says them. */
  details: { name: string; text: string }[];
  /** True where a whole table is read. */
  fullScan: boolean;
  children: PlanNode[];
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

const isObject = (value: Json | undefined): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value);
const asNumber = (value: Json | undefined): number | null => {
  if (typeof value === "number") return value;
  if (typeof value === "string" && value !== "" && Number.isFinite(Number(value))) return Number(value);
  return null;
};
const asText = (value: Json | undefined): string | null => {
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) return value.map((v) => asText(v) ?? "").join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
};

/** Reads a plan given as JSON or as its text; null when it is no plan we know. */
export function readPlan(input: unknown): PlanNode | null {
  let json: Json;
  try {
    json = (typeof input === "string" ? JSON.parse(input) : input) as Json;
  } catch {
    return null;
  }
  const first = Array.isArray(json) ? json[0] : json;
  if (!isObject(first)) return null;
  if (isObject(first["Plan"])) return withShares(postgres(first["Plan"]));
  if (typeof first["Node Type"] === "string") return withShares(postgres(first));
  if (isObject(first["query_block"])) {
    const children = mysql(first["query_block"]);
    if (children.length === 0) return null;
    const cost = mysqlCost(first["query_block"]);
    return withShares(children.length === 1 && cost === null ? children[0]! : node("query", { cost, children }));
  }
  return null;
}

function node(operation: string, rest: Partial<PlanNode>): PlanNode {
  return { operation, relation: null, index: null, rows: null, cost: null, share: null, details: [], fullScan: false, children: [], ...rest };
}

const POSTGRES_DETAILS = [
  "Index Cond", "Recheck Cond", "Filter", "Join Filter", "Hash Cond", "Merge Cond", "TID Cond", "One-Time Filter", "Sort Key", "Presorted Key",
  "Group Key", "Cache Key", "CTE Name", "Function Name", "Subplan Name", "Workers Planned", "Partial Mode",
];

function postgres(json: JsonObject): PlanNode {
  const type = asText(json["Node Type"]) ?? "?";
  const words: string[] = [];
  if (json["Parallel Aware"] === true) words.push("Parallel");
  if (json["Scan Direction"] === "Backward") words.push("Backward");
  const strategy = asText(json["Strategy"]);
  if (type === "Aggregate" && strategy !== null && strategy !== "Plain") words.push(strategy === "Sorted" ? "Group" : strategy);
  if (type === "ModifyTable") words.push(asText(json["Operation"]) ?? "");
  else words.push(type);
  const join = asText(json["Join Type"]);
  if (join !== null && join !== "Inner") words.push(join);
  const relation = asText(json["Relation Name"]);
  const alias = asText(json["Alias"]);
  const plans = Array.isArray(json["Plans"]) ? json["Plans"].filter(isObject) : [];
  return node(words.filter((w) => w !== "").join(" "), {
    relation: relation === null ? null : alias !== null && alias !== relation ? `${relation} ${alias}` : relation,
    index: asText(json["Index Name"]),
    rows: asNumber(json["Plan Rows"]),
    cost: asNumber(json["Total Cost"]),
    details: POSTGRES_DETAILS.flatMap((name) => {
      const text = asText(json[name]);
      return text === null || (name === "Partial Mode" && text === "Simple") ? [] : [{ name, text }];
    }),
    fullScan: type === "Seq Scan",
    children: plans.map(postgres),
  });
}

const MYSQL_STEPS: Record<string, string> = {
  filesort: "filesort",
  temporary_table: "temporary table",
  ordering_operation: "ordering",
  grouping_operation: "grouping",
  duplicates_removal: "distinct",
  "block-nl-join": "block nested loop join",
  expression_cache: "expression cache",
  union_result: "union",
  materialized: "materialised",
  materialized_from_subquery: "materialised subquery",
  window_functions_computation: "window functions",
  having_subqueries: "subqueries in having",
  attached_subqueries: "subqueries",
  optimized_away_subqueries: "subqueries, optimised away",
  subqueries: "subqueries",
  select_list_subqueries: "subqueries in select",
  query_specifications: "union parts",
};
const MYSQL_THROUGH = ["query_block", "nested_loop", "read_sorted_file", "buffer_result", "query_specifications"];
const MYSQL_DETAILS = ["attached_condition", "index_condition", "having_condition", "sort_key", "used_key_parts", "possible_keys", "ref", "filtered", "message", "join_type", "cache_condition"];

/** MariaDB's and MySQL's tree names its steps by keys; steps are nested or listed below `nested_loop`. */
function mysql(json: Json): PlanNode[] {
  if (Array.isArray(json)) return json.flatMap((item) => mysql(item));
  if (!isObject(json)) return [];
  const found: PlanNode[] = [];
  for (const [key, value] of Object.entries(json)) {
    if (key === "table" && isObject(value)) found.push(mysqlTable(value));
    else if (key === "table" || key === "cost_info") continue;
    else if (MYSQL_THROUGH.includes(key)) found.push(...mysql(value));
    else if (key in MYSQL_STEPS && (isObject(value) || Array.isArray(value))) {
      const own = isObject(value) ? value : {};
      const children = mysql(value);
      if (children.length > 0) found.push(node(MYSQL_STEPS[key]!, { children, details: mysqlDetails(own), cost: mysqlCost(own) }));
    }
  }
  return found;
}

function mysqlTable(json: JsonObject): PlanNode {
  const access = asText(json["access_type"]);
  const name = asText(json["table_name"]);
  return node(access === "ALL" ? "full table scan" : access === null ? (asText(json["message"]) ?? "table") : `${access} access`, {
    relation: name,
    index: asText(json["key"]),
    rows: asNumber(json["rows"]) ?? asNumber(json["rows_examined_per_scan"]),
    cost: mysqlCost(json),
    details: mysqlDetails(json),
    fullScan: access === "ALL",
    children: mysql(Object.fromEntries(Object.entries(json).filter(([key]) => key !== "table_name"))),
  });
}

function mysqlCost(json: JsonObject): number | null {
  const info = json["cost_info"];
  if (!isObject(info)) return asNumber(json["cost"]);
  return asNumber(info["query_cost"]) ?? asNumber(info["prefix_cost"]) ?? asNumber(info["sort_cost"]);
}

function mysqlDetails(json: JsonObject): { name: string; text: string }[] {
  return MYSQL_DETAILS.flatMap((name) => {
    const text = asText(json[name]);
    return text === null || text === "" || (name === "filtered" && Number(text) === 100) ? [] : [{ name: name.replace(/_/g, " "), text }];
  });
}

/** Fills in each step's own share of the whole cost: its cost less its children's. */
function withShares(root: PlanNode): PlanNode {
  const whole = root.cost;
  const fill = (at: PlanNode): PlanNode => {
    const below = at.children.reduce((sum, child) => sum + (child.cost ?? 0), 0);
    const hidden = at.children.length > 0 && at.children.every((child) => child.cost === null);
    const own = at.cost === null || whole === null || whole <= 0 || hidden ? null : Math.min(1, Math.max(0, (at.cost - below) / whole));
    return { ...at, share: own, children: at.children.map(fill) };
  };
  return fill(root);
}

/** Every step from the top, each before its children. */
export function steps(root: PlanNode): PlanNode[] {
  return [root, ...root.children.flatMap(steps)];
}
