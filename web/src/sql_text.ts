// Statement text for reading: tokens to colour, and line breaks before the clauses of a one-line text.
// It never changes anything but white space, and takes any text, also one that was cut off.

export type TokenKind = "keyword" | "text" | "number" | "param" | "comment" | "name" | "symbol" | "space";
export interface Token {
  kind: TokenKind;
  text: string;
}

const KEYWORDS = new Set(
  `add all alter analyze and any as asc begin between by call case cast check coalesce column commit conflict constraint copy create cross
  current_date current_timestamp default delete desc distinct do drop else end escape except execute exists explain false fetch filter first
  following for force foreign from full function grant group grouping having if ignore ilike in index inner insert intersect interval into is
  join key last lateral left like limit lock locked materialized merge natural next no not nothing nowait null nulls of offset on only or order
  outer over partition preceding prepare primary procedure range recursive references release replace returning revoke right rollback row rows
  savepoint select set share show similar skip some start straight_join table tablesample temporary then ties to transaction trigger true
  truncate unbounded union unique update using vacuum values view when where window with work`
    .split(/\s+/)
    .filter((w) => w !== ""),
);

const PATTERN = new RegExp(
  [
    "(?<space>\\s+)",
    "(?<comment>--[^\\n]*|/\\*[\\s\\S]*?(?:\\*/|$))",
    "(?<text>'(?:[^']|'')*(?:'|$))",
    '(?<quoted>"(?:[^"]|"")*(?:"|$)|`[^`]*(?:`|$))',
    "(?<param>\\$\\d+|\\?|:[A-Za-z_]\\w*)",
    "(?<number>\\d+(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)",
    "(?<word>[\\p{L}_][\\p{L}\\p{N}_$]*)",
    "(?<symbol>::|[<>!=]=|<>|\\|\\||->>?|[\\s\\S])",
  ].join("|"),
  "uy",
);

/** Splits a text into tokens; their texts put together are the text again. */
export function tokens(text: string): Token[] {
  const found: Token[] = [];
  PATTERN.lastIndex = 0;
  while (PATTERN.lastIndex < text.length) {
    const match = PATTERN.exec(text);
    if (match === null) break;
    found.push({ kind: kindOf(match.groups ?? {}), text: match[0] });
  }
  return found;
}

function kindOf(groups: Record<string, string | undefined>): TokenKind {
  if (groups["word"] !== undefined) return KEYWORDS.has(groups["word"].toLowerCase()) ? "keyword" : "name";
  if (groups["quoted"] !== undefined) return "name";
  for (const kind of ["space", "comment", "text", "param", "number"] as const) {
    if (groups[kind] !== undefined) return kind;
  }
  return "symbol";
}

const CLAUSES = new Set(["from", "where", "having", "limit", "offset", "returning", "union", "except", "intersect", "values", "set", "window"]);
const JOINS = new Set(["join", "left", "right", "inner", "full", "cross", "natural"]);

/** Breaks a one-line text before its clauses, joins and the conditions of its outermost level. A text with line breaks stays as it is. */
export function layout(text: string): string {
  if (text.includes("\n") || text.length < 60) return text;
  let depth = 0;
  let line = "";
  let between = false;
  let words: string[] = [];
  for (const token of tokens(text)) {
    const word = token.kind === "keyword" ? token.text.toLowerCase() : "";
    if (token.text === "(") depth += 1;
    if (token.text === ")") depth = Math.max(0, depth - 1);
    if (word === "between") between = true;
    const before = words[words.length - 1] ?? "";
    const clause = CLAUSES.has(word) && !(word === "from" && before === "delete") && !(word === "from" && before === "distinct");
    const join = JOINS.has(word) && !JOINS.has(before);
    const by = (word === "group" || word === "order") && before !== "within";
    const condition = (word === "and" && !between) || word === "or";
    if (depth === 0 && line.trim() !== "" && (clause || join || by || condition)) {
      line = `${line.trimEnd()}\n${condition || join ? "  " : ""}`;
    }
    if (word === "and") between = false;
    line += token.text;
    if (token.kind === "keyword" || token.kind === "name") words = [token.text.toLowerCase()];
  }
  return line;
}
