// A plan as a readable tree: what each step does, on what, how many rows are expected, and where the cost is.
import { number } from "./format";
import { t } from "./language";
import { Copy } from "./parts";
import { readPlan, type PlanNode } from "./plan";

const HEAVY_SHARE = 0.3;

export function Plan(props: { plan: unknown }) {
  const tree = readPlan(props.plan);
  const text = typeof props.plan === "string" ? pretty(props.plan) : JSON.stringify(props.plan, null, 2);
  return (
    <div class="plan">
      {tree === null ? (
        <p class="muted">{t("plan_unreadable")}</p>
      ) : (
        <ul class="plan-tree" data-plan>
          <Step node={tree} />
        </ul>
      )}
      <details open={tree === null}>
        <summary>{t("plan_json")}</summary>
        <Copy text={text} />
        <pre>{text}</pre>
      </details>
    </div>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function Step(props: { node: PlanNode }) {
  const { node } = props;
  const heavy = node.share !== null && node.share >= HEAVY_SHARE;
  return (
    <li>
      <div class={`step ${node.fullScan ? "full" : ""}`}>
        <div class="line">
          <b>{node.operation}</b>
          {node.relation !== null && <span class="relation">{node.relation}</span>}
          {node.index !== null && <span class="index">{node.index}</span>}
          {node.fullScan && <span class="tag warning">{t("full_scan")}</span>}
          <span class="meta">
            {node.rows !== null && <span class="muted">{t("plan_rows", { rows: number(node.rows) })}</span>}
            {node.cost !== null && <span class="muted">{t("plan_cost", { cost: number(node.cost) })}</span>}
            {node.share !== null && (
              <span class={`cost ${heavy ? "heavy" : ""}`} title={number(node.share, "ratio")}>
                <span style={{ width: `${(node.share * 100).toFixed(0)}%` }} />
              </span>
            )}
          </span>
        </div>
        {node.details.map((d) => (
          <div class="more">
            <span>{d.name}</span> {d.text}
          </div>
        ))}
      </div>
      {node.children.length > 0 && (
        <ul>
          {node.children.map((child) => (
            <Step node={child} />
          ))}
        </ul>
      )}
    </li>
  );
}
